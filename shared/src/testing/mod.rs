//! What tests through the front door need: a database of their own, and callers of every kind.

mod caller;
mod database;
pub mod fuzz;
mod matrix;
mod service;

pub use self::{
    caller::{Caller, Credentials},
    database::TestDatabase,
    matrix::violations_of_access,
    service::{TestService, reason, violations},
};
