//! JSON over plain HTTP for every unary RPC: `POST /package.Service/Method`, the
//! unary half of the Connect protocol, through the same layers and handlers.

mod error;
mod size;

use std::io;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use futures_util::stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{
        ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE, TRANSFER_ENCODING,
    },
};
use http_body::Frame;
use http_body_util::{BodyExt as _, LengthLimitError, Limited, StreamBody};
use ihuman_proto::error::v1::ErrorReason;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use tonic::{Code, Status};
use tower::ServiceExt as _;

pub(super) use self::{error::refuse, size::Size};
use super::{methods, status};
use crate::parse::INTEGER_MAX;

/// Above this many bytes or values a body is parsed off the runtime, which would
/// otherwise stand still for milliseconds.
const INLINE_BYTES_MAX: usize = 64 << 10;
const INLINE_VALUES_MAX: usize = 4_000;

/// A gRPC frame begins with one byte for compression and four for the length.
const FRAME_HEADER: usize = 5;

/// Headers about the body as it was sent, which is not as it is passed on. What is
/// accepted goes too: an answer that comes back compressed could not be read here.
const ABOUT_THE_BODY: [HeaderName; 6] = [
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-encoding"),
];

/// Answers a JSON request of at most `size` by a gRPC request to the same server.
pub(super) async fn call(grpc: Router, size: Size, request: Request) -> Response {
    answer(grpc, size, request).await.unwrap_or_else(|status| refuse(&status))
}

async fn answer(grpc: Router, size: Size, request: Request) -> Result<Response, Status> {
    let method = methods::find(request.uri().path());
    if method.is_some_and(methods::Method::is_streaming) {
        let message = "JSON is for unary RPCs; use gRPC or gRPC-Web for this one";
        return Err(status::new(Code::Unimplemented, ErrorReason::UnknownMethod, message));
    }
    if request.headers().get(CONTENT_ENCODING).is_some_and(|it| it != "identity") {
        return Err(status::malformed("a JSON body must not be compressed"));
    }

    // An unknown method goes the same way, for the same answer and the same count.
    let descriptor = method.map(|it| &it.descriptor);
    let Ok(response) = grpc.oneshot(to_grpc(request, size, descriptor)).await;
    match descriptor {
        Some(descriptor) => from_grpc(response, descriptor).await,
        None => Err(Status::from_header_map(response.headers()).unwrap_or_else(status::internal)),
    }
}

fn to_grpc(request: Request, size: Size, method: Option<&MethodDescriptor>) -> Request {
    let (mut parts, body) = request.into_parts();
    for name in ABOUT_THE_BODY {
        parts.headers.remove(name);
    }
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    parts.version = Version::HTTP_2;
    let body = match method {
        None => Body::empty(),
        // Read only when the handler's codec asks for it: within the deadline and
        // the load limit, and after the caller has been let in (AIP-211).
        Some(method) => {
            let frame = transcode(body, size, method.input());
            Body::new(StreamBody::new(stream::once(Box::pin(frame))))
        }
    };
    Request::from_parts(parts, body)
}

/// The whole JSON body as one gRPC frame.
async fn transcode(
    body: Body,
    size: Size,
    input: MessageDescriptor,
) -> Result<Frame<Bytes>, Status> {
    let body = Limited::new(body, size.bytes).collect().await.map_err(|error| {
        status::malformed(if error.is::<LengthLimitError>() {
            format!("the body is longer than {} bytes", size.bytes)
        } else {
            "the body ended early".to_owned()
        })
    })?;
    let body = body.to_bytes();

    // Counted before anything is made of them: a short body may have very many.
    let (is_short, counted) = (body.len() <= INLINE_BYTES_MAX, body.clone());
    let values = run(is_short, move || size::values(&counted)).await?;
    if values > size.values {
        return Err(status::malformed(format!("the body has more than {} values", size.values)));
    }
    if is_short && values <= INLINE_VALUES_MAX {
        return parse(&body, input);
    }
    // Held by the work itself, which goes on when nobody waits for it any more.
    let room = size::room(values).await;
    let parsing = move || {
        let _room = room;
        parse(&body, input)
    };
    run(false, parsing).await?
}

/// Runs the work here or off the runtime.
async fn run<T: Send + 'static>(
    inline: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    if inline {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| status::internal())
}

fn parse(body: &[u8], input: MessageDescriptor) -> Result<Frame<Bytes>, Status> {
    // The Connect protocol takes no body for an empty message.
    let body = if body.is_empty() { b"{}" } else { body };
    let mut json = serde_json::Deserializer::from_slice(body);
    let message = DynamicMessage::deserialize(input, &mut json)
        .and_then(|message| json.end().map(|()| message))
        .map_err(|error| status::malformed(format!("not the JSON of this request: {error}")))?;

    let length = message.encoded_len();
    let prefix = u32::try_from(length).map_err(|_| status::malformed("too long"))?.to_be_bytes();
    let mut frame = Vec::with_capacity(FRAME_HEADER + length);
    frame.push(0);
    frame.extend_from_slice(&prefix);
    message.encode(&mut frame).map_err(|_| status::internal())?;
    Ok(Frame::data(frame.into()))
}

async fn from_grpc(response: Response, method: &MethodDescriptor) -> Result<Response, Status> {
    let (mut parts, mut body) = response.into_parts();
    ok_or_status(&parts.headers)?;
    // Not taken: the request counts against the load limit until the body is dropped.
    let collected = (&mut body).collect().await.map_err(|_| status::internal())?;
    match collected.trailers() {
        Some(trailers) => ok_or_status(trailers)?,
        None => return Err(status::internal()),
    }
    let (frame, output) = (collected.to_bytes(), method.output());
    let is_short = frame.len() <= INLINE_BYTES_MAX;
    let room = if is_short { None } else { Some(size::room_for_message(frame.len()).await) };
    let rendering = move || {
        let _room = room;
        render(&frame, output)
    };
    let json = run(is_short, rendering).await??;

    for name in ABOUT_THE_BODY {
        parts.headers.remove(name);
    }
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Response::from_parts(parts, Body::from(json)))
}

/// The JSON of the message in this frame.
fn render(frame: &[u8], output: MessageDescriptor) -> Result<Vec<u8>, Status> {
    let message =
        frame.get(FRAME_HEADER..).filter(|_| frame[0] == 0).ok_or_else(status::internal)?;
    let message = DynamicMessage::decode(output, message).map_err(|_| status::internal())?;
    to_json(&message).map_err(|_| status::internal())
}

fn to_json(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    message.serialize(&mut serde_json::Serializer::with_formatter(&mut json, WholeNumbers))?;
    Ok(json)
}

/// Writes whole numbers as protobuf's JSON does: 100 and not 100.0.
struct WholeNumbers;

impl Formatter for WholeNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value.fract() == 0.0 && value.abs() <= INTEGER_MAX {
            return self.write_i64(writer, value as i64);
        }
        CompactFormatter.write_f64(writer, value)
    }
}

fn ok_or_status(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_fraction() {
        let json = to_json(&(100.0, -2.0, 0.5, 1e300, 7)).unwrap();

        assert_eq!(String::from_utf8(json).unwrap(), "[100,-2,0.5,1e+300,7]");
    }
}
