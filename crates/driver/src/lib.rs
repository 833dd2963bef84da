//! The driver's side of the protocol: resend until acked.
