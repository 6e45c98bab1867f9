//! The commands, one a file: each takes its arguments and gives an exit status, or an error that `main` prints.

pub mod evaluate;
mod folds;
pub mod import;
pub mod inspect;
pub mod manual;
mod plan;
pub mod predict;
pub mod report;
pub mod train;
pub mod tune;
