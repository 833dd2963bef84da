//! How far a trip has come.

/// The phases of a trip, in the order in which they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Given to a driver who has not set out for it.
    Assigned = 0,
    /// The driver is on the way to the pick-up.
    ToPickup = 1,
    /// The driver stands at the pick-up.
    AtPickup = 2,
    /// On board, on the way to the drop-off.
    ToDropoff = 3,
    /// Near the drop-off.
    Arriving = 4,
    /// The driver stands at the drop-off.
    Arrived = 5,
    /// Handed over. Only the record says so.
    Delivered = 6,
    /// Called off. Only the record says so.
    Cancelled = 7,
    /// Could not be delivered. Only the record says so.
    Failed = 8,
}

impl Phase {
    /// Every phase, in order of rank.
    pub const ALL: [Self; 9] = [
        Self::Assigned,
        Self::ToPickup,
        Self::AtPickup,
        Self::ToDropoff,
        Self::Arriving,
        Self::Arrived,
        Self::Delivered,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word for it, as on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::ToPickup => "to_pickup",
            Self::AtPickup => "at_pickup",
            Self::ToDropoff => "to_dropoff",
            Self::Arriving => "arriving",
            Self::Arrived => "arrived",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// The phase a word means; `None` for any other word.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.code() == code)
    }

    /// Whether the trip is over.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Delivered | Self::Cancelled | Self::Failed)
    }

    /// Position in the order, 0..=8. A trip's rank never falls.
    #[must_use]
    pub const fn rank(self) -> u8 {
        self as u8
    }

    /// Whether the order is on board or its pick-up is behind.
    #[must_use]
    pub const fn is_picked_up(self) -> bool {
        self.rank() >= Self::ToDropoff.rank()
    }

    pub(crate) fn from_rank(rank: u8) -> Option<Self> {
        Self::ALL.get(usize::from(rank)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_words_and_phases_agree() {
        for (rank, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(phase.rank()), rank);
            assert_eq!(Phase::from_rank(phase.rank()), Some(phase));
            assert_eq!(Phase::from_code(phase.code()), Some(phase));
            assert_eq!(phase.is_terminal(), rank >= 6);
        }
        assert_eq!(Phase::from_code("on_the_way"), None);
        assert_eq!(Phase::from_rank(9), None);
    }
}
