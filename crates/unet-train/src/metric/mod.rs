//! Scores on label arrays, without tensors: count first ([`Confusion`]), score once ([`Scores`]).

mod confusion;
mod scores;

pub use confusion::Confusion;
pub use scores::{ClassScores, Scores};
