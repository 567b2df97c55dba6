//! Pressure runs: fill memory, hold it, verify every byte, give it back, and never take the machine down.
//!
//! A worker process holds the memory. The watching process reads the machine ten times a second, kills the worker when
//! a limit is crossed or a reading fails, and records why. If the watching process dies, the worker notices by the end
//! of its input, gives the memory back and records that.

mod admission;
mod child;
mod ledger;
mod limits;
mod native;
mod outcome;
mod plan;
mod protocol;
mod reason;
mod run;
mod sampler;
mod service;
mod status;
pub mod worker;

pub use child::WorkerCommand;
pub use limits::Limits;
pub use native::native_source;
pub use outcome::{Least, LevelReached, Outcome, Peak, Place, Release, SCHEMA};
pub use plan::{Changes, Level, Plan, PlanError, Target};
pub use protocol::PlantedFault;
pub use reason::{Reason, ReasonCode};
pub use run::{Finished, LOCK, MakeSource, Needs, RESULT, run};
pub use service::{Service, StartError};
pub use status::{Handle, State, Status};
