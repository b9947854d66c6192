//! What every service of this process accepts.

use tonic::codec::CompressionEncoding;

/// The greatest request in bytes, after decompression: the greatest setting is a
/// quarter of it.
pub(crate) const MESSAGE_MAX: usize = 64 << 10;

/// How a request may be compressed.
pub(crate) const COMPRESSION: CompressionEncoding = CompressionEncoding::Gzip;
