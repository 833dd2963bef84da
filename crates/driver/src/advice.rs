//! What a close code, or a refused handshake, asks of the client (`PROTOCOL.md`, "Close codes").

/// What to do after a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Connect again.
    ComeBack,
    /// Connect again with another token.
    NewToken,
    /// Coming back gives the same answer.
    StayAway,
    /// The client did something wrong: connect again, but do not repeat it.
    Careful,
}

impl Advice {
    /// By close code; `None` means that the line broke without one.
    #[must_use]
    pub fn of_close(code: Option<u16>) -> Self {
        match code {
            Some(1002 | 1003 | 1007 | 1009) => Self::Careful,
            Some(4100..=4199) => Self::NewToken,
            Some(4200..=4299) => Self::StayAway,
            _ => Self::ComeBack,
        }
    }

    /// By the status of a refused handshake.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::NewToken,
            // Anything else may be a proxy in front of a house that is being rebuilt.
            400 | 403 => Self::StayAway,
            _ => Self::ComeBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayfare_wire::CloseCode;

    #[test]
    fn every_code_of_the_protocol_has_its_advice() {
        for code in CloseCode::ALL {
            let expected = match code {
                CloseCode::Normal
                | CloseCode::Draining
                | CloseCode::Slow
                | CloseCode::Silent
                | CloseCode::Overloaded
                | CloseCode::Flood
                | CloseCode::Superseded => Advice::ComeBack,
                CloseCode::Protocol | CloseCode::Unsupported | CloseCode::InvalidText | CloseCode::TooBig => {
                    Advice::Careful
                }
                CloseCode::TokenExpired | CloseCode::Unauthorized => Advice::NewToken,
                CloseCode::Replaced | CloseCode::Revoked | CloseCode::Nonsense => Advice::StayAway,
            };
            assert_eq!(Advice::of_close(Some(code.number())), expected, "{code:?}");
        }
        assert_eq!(Advice::of_close(None), Advice::ComeBack);
    }

    #[test]
    fn a_busy_house_is_asked_again_and_a_closed_one_is_not() {
        assert_eq!(Advice::of_status(503), Advice::ComeBack);
        assert_eq!(Advice::of_status(429), Advice::ComeBack);
        assert_eq!(Advice::of_status(401), Advice::NewToken);
        assert_eq!(Advice::of_status(403), Advice::StayAway);
    }
}
