//! What a driver moves with. Speeds, noise and fences are chosen by it.

/// How a driver moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Vehicle {
    /// Pedal or electric bicycle.
    Bicycle = 0,
    /// Motorbike or motor scooter.
    Motorbike = 1,
    /// Passenger car.
    #[default]
    Car = 2,
    /// Delivery van or small lorry.
    Van = 3,
    /// On foot.
    Foot = 4,
}

impl Vehicle {
    /// Every vehicle, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Bicycle, Self::Motorbike, Self::Car, Self::Van, Self::Foot];

    /// The word for it: `bicycle`, `motorbike`, `car`, `van`, `foot`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Bicycle => "bicycle",
            Self::Motorbike => "motorbike",
            Self::Car => "car",
            Self::Van => "van",
            Self::Foot => "foot",
        }
    }

    /// The vehicle a word means; `scooter` is a motorbike. `None` for any other word.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        if code == "scooter" {
            return Some(Self::Motorbike);
        }
        Self::ALL.into_iter().find(|vehicle| vehicle.code() == code)
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_finds_its_vehicle_again() {
        for (number, vehicle) in Vehicle::ALL.into_iter().enumerate() {
            assert_eq!(Vehicle::from_code(vehicle.code()), Some(vehicle));
            assert_eq!(vehicle as usize, number);
            assert_eq!(Vehicle::from_number(number as u8), Some(vehicle));
        }
        assert_eq!(Vehicle::from_code("scooter"), Some(Vehicle::Motorbike));
        assert_eq!(Vehicle::from_code("Car"), None);
        assert_eq!(Vehicle::from_number(5), None);
    }
}
