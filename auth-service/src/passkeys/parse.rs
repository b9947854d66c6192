//! Limits on what authenticators and browsers answer.

use ihuman_shared::{Error, Result};

/// The longest client data, in bytes; those of today's browsers have about 300.
const CLIENT_DATA_MAX: usize = 4 << 10;

/// 1 to `max` bytes.
pub(super) fn bytes(field: &str, bytes: Vec<u8>, max: usize) -> Result<Vec<u8>> {
    match (1..=max).contains(&bytes.len()) {
        true => Ok(bytes),
        false => Err(Error::invalid(field, format!("must have 1 to {max} bytes"))),
    }
}

/// The `client_data_json` of `field`.
pub(super) fn client_data(field: &str, json: Vec<u8>) -> Result<Vec<u8>> {
    bytes(&format!("{field}.client_data_json"), json, CLIENT_DATA_MAX)
}
