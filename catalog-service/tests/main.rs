//! catalog-service through its front door.

mod support;
