//! Training and prediction with a U-Net.
#![forbid(unsafe_code)]

pub mod config;
pub mod device;
mod error;
pub mod loss;
pub mod metric;
pub mod observe;
pub mod optim;
pub mod recipe;
pub mod schedule;

pub use config::RunConfig;
pub use error::TrainError;
pub use schedule::Schedule;
