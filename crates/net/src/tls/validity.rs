//! From when to when a certificate is valid: the one thing we want to know of it before a client does.
//!
//! The library that checks chains does not tell, so the few fields up to it are walked here (RFC 5280, 4.1).

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Both ends belong to it; Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from_s: i64,
    /// Not after.
    pub to_s: i64,
}

impl Validity {
    /// Reads it out of a certificate in DER; `None` if the bytes are none.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (whole, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(whole, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest, VERSION)?.1;
        }
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            // Serial number, algorithm, issuer.
            rest = element(rest, tag)?.1;
        }
        let (validity, _) = element(rest, SEQUENCE)?;
        let (from_s, rest) = time(validity)?;
        let (to_s, _) = time(rest)?;
        Some(Self { from_s, to_s })
    }

    /// Whether it is valid at this time.
    pub fn holds(self, now_s: i64) -> bool {
        (self.from_s..=self.to_s).contains(&now_s)
    }
}

/// The content of the first element, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..=0x7F => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = element(bytes, tag)?;
    let text = std::str::from_utf8(text.strip_suffix(b"Z")?).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, text) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let (year, text) = text.split_at(2);
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, text) = text.split_at(4);
            (year.parse().ok()?, text)
        }
        _ => return None,
    };
    let two = |place: usize| text[place..place + 2].parse::<i64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some((days_from_civil(year, month, day) * 86_400 + two(4)? * 3600 + two(6)? * 60 + two(8)?, rest))
}

/// Days since 1970 of a date of our calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a time in Unix seconds.
pub fn date_of(at_s: i64) -> (i32, u8, u8) {
    let days = at_s.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as u8, day as u8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let read = Validity::of(&certificate((1999, 12, 31), (2080, 2, 29))).unwrap();
        assert_eq!(read, Validity { from_s: 946_598_400, to_s: 3_476_390_400 });
        assert!(read.holds(946_598_400) && read.holds(3_476_390_400));
        assert!(!read.holds(946_598_399) && !read.holds(3_476_390_401));
    }

    proptest! {
        #[test]
        fn a_date_is_the_days_it_came_from(days in -100_000..100_000_i64) {
            let (year, month, day) = date_of(days * 86_400 + 7);
            prop_assert_eq!(days_from_civil(year.into(), month.into(), day.into()), days);
        }

        #[test]
        fn broken_certificates_are_none_or_read(cut in 0..400_usize, place in 0..400_usize, byte: u8) {
            let mut bytes = certificate((2020, 1, 1), (2030, 1, 1));
            if let Some(hit) = bytes.get_mut(place) {
                *hit = byte;
            }
            let _ = Validity::of(&bytes);
            bytes.truncate(cut);
            let _ = Validity::of(&bytes);
        }
    }
}
