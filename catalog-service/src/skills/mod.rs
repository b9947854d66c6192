//! Skills: what there is to run.

mod cost;
mod parameters_schema;
pub mod schema;

pub use parameters_schema::ParametersSchema;
