//! The contract: generated messages, clients and servers, and the descriptors they came from.

#![allow(missing_docs, reason = "the comments of the .proto files are the documentation")]
#![allow(clippy::too_many_lines, reason = "nobody reads the generated dispatch of a service")]

/// Every file of the contract as an encoded `google.protobuf.FileDescriptorSet`,
/// custom options and comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Who may call what.
pub mod access {
    #[allow(clippy::doc_markdown, clippy::doc_lazy_continuation, clippy::large_enum_variant)]
    pub mod v1 {
        tonic::include_proto!("ihuman.access.v1");
    }
}

/// Accounts, sessions, keys and settings.
pub mod auth {
    #[allow(clippy::doc_markdown, clippy::doc_lazy_continuation, clippy::large_enum_variant)]
    pub mod v1 {
        tonic::include_proto!("ihuman.auth.v1");
    }
}

/// Skills, executions, workers and the audit trail.
pub mod catalog {
    #[allow(clippy::doc_markdown, clippy::doc_lazy_continuation, clippy::large_enum_variant)]
    pub mod v1 {
        tonic::include_proto!("ihuman.catalog.v1");
    }
}

/// Why a request failed.
pub mod error {
    #[allow(clippy::doc_markdown, clippy::doc_lazy_continuation, clippy::large_enum_variant)]
    pub mod v1 {
        tonic::include_proto!("ihuman.error.v1");
    }
}
