//! The roads against slow and obvious versions of themselves, on small towns made up by dice.

mod file;
mod matching;
mod places;
mod shapes;
pub(crate) mod town;
mod ways;
