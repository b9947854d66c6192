//! The tests of what both services share, through the front door.

mod server;
