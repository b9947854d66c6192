//! The server stack on real sockets, as each kind of client sees it.

mod connections;
mod cors;
mod drain;
mod http1;
mod http2;
mod introspection;
mod limits;
mod probe;
mod protocols;
mod stack;
mod tls;
mod unreadable;

use tonic::Status;
use tonic_types::StatusExt as _;

/// The machine-readable reason of an error.
fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().expect("every error carries an ErrorInfo");
    assert_eq!(info.domain, "ihuman.dev");
    info.reason
}
