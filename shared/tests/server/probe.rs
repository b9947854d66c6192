//! A server with handlers that do what a test asks of them.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use ihuman_proto::{
    auth::v1::{
        self as auth, Setting,
        setting_service_client::SettingServiceClient,
        setting_service_server::{SettingService, SettingServiceServer},
    },
    catalog::v1::{
        self as catalog, ExecutionChange, WatchExecutionRequest, WatchExecutionResponse,
        execution_service_client::ExecutionServiceClient,
        execution_service_server::{ExecutionService, ExecutionServiceServer},
        watch_execution_response::Update,
    },
};
use ihuman_shared::server::{
    Limited, RequestId, ServerConfig, Shutdown, Stack, peer_address, serve,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tonic::{Code, Request, Response, Status, codec::CompressionEncoding, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::layer::util::Identity;

pub(super) const GET_SETTING: &str = "/ihuman.auth.v1.SettingService/GetSetting";
pub(super) const SET_SETTING: &str = "/ihuman.auth.v1.SettingService/SetSetting";
pub(super) const WATCH_EXECUTION: &str = "/ihuman.catalog.v1.ExecutionService/WatchExecution";

/// The longest message that the server reads, in bytes.
pub(super) const MESSAGE_MAX: usize = 4 << 20;

/// What a test and the handlers tell each other, by permits that nobody takes twice.
#[derive(Clone)]
pub(super) struct Signals {
    /// One for each handler that holds.
    pub(super) entered: Arc<Semaphore>,
    /// One for each that may go on.
    pub(super) release: Arc<Semaphore>,
    /// One for each stream that was dropped.
    pub(super) dropped: Arc<Semaphore>,
}

impl Signals {
    pub(super) fn new() -> Self {
        let none = || Arc::new(Semaphore::new(0));
        Self { entered: none(), release: none(), dropped: none() }
    }
}

/// Waits for a signal, and fails the test when none comes.
pub(super) async fn take(signal: &Semaphore) {
    let taken = timeout(Duration::from_secs(20), signal.acquire()).await;
    taken.expect("a signal in time").unwrap().forget();
}

#[derive(Clone)]
pub(super) struct Probe(pub(super) Signals);

#[tonic::async_trait]
impl SettingService for Probe {
    /// The name says what to do; any other is answered with.
    async fn get_setting(
        &self,
        request: Request<auth::GetSettingRequest>,
    ) -> Result<Response<auth::GetSettingResponse>, Status> {
        let name = match request.get_ref().name.as_str() {
            "panic" => panic!("secret of the handler"),
            "forever" => std::future::pending().await,
            "missing" => {
                let info = ErrorDetails::with_error_info("NOT_FOUND", "ihuman.dev", []);
                return Err(Status::with_error_details(Code::NotFound, "no such setting", info));
            }
            "hold" => {
                self.0.entered.add_permits(1);
                take(&self.0.release).await;
                "held".to_owned()
            }
            "request id" => request.extensions().get::<RequestId>().unwrap().0.clone(),
            "peer" => peer_address(request.extensions()).unwrap().to_string(),
            other => other.to_owned(),
        };
        let setting = Setting { name, ..Setting::default() };
        Ok(Response::new(auth::GetSettingResponse { setting: Some(setting) }))
    }

    async fn list_settings(
        &self,
        _: Request<auth::ListSettingsRequest>,
    ) -> Result<Response<auth::ListSettingsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn set_setting(
        &self,
        request: Request<auth::SetSettingRequest>,
    ) -> Result<Response<auth::SetSettingResponse>, Status> {
        let auth::SetSettingRequest { name, value } = request.into_inner();
        let setting = Setting { name, value, update_time: None };
        Ok(Response::new(auth::SetSettingResponse { setting: Some(setting) }))
    }

    async fn delete_setting(
        &self,
        _: Request<auth::DeleteSettingRequest>,
    ) -> Result<Response<auth::DeleteSettingResponse>, Status> {
        Ok(Response::new(auth::DeleteSettingResponse {}))
    }
}

type Changes = Pin<Box<dyn Stream<Item = Result<WatchExecutionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExecutionService for Probe {
    type WatchExecutionStream = Changes;

    /// Sends the changes 1, 2 and 3, and then does what the id says.
    async fn watch_execution(
        &self,
        request: Request<WatchExecutionRequest>,
    ) -> Result<Response<Changes>, Status> {
        let held = CountsItsDrop(self.0.dropped.clone());
        let changes = stream::iter(1..=3).map(change);
        let end: Changes = match request.get_ref().execution_id.as_str() {
            "panic" => stream::once(async { panic!("secret of the stream") }).boxed(),
            "forever" => stream::pending().boxed(),
            _ => stream::empty().boxed(),
        };
        let all = changes.chain(end).map(move |change| {
            let _held = &held;
            change
        });
        Ok(Response::new(Box::pin(all)))
    }

    async fn create_execution(
        &self,
        _: Request<catalog::CreateExecutionRequest>,
    ) -> Result<Response<catalog::CreateExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_execution(
        &self,
        _: Request<catalog::GetExecutionRequest>,
    ) -> Result<Response<catalog::GetExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_executions(
        &self,
        _: Request<catalog::ListExecutionsRequest>,
    ) -> Result<Response<catalog::ListExecutionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn cancel_execution(
        &self,
        _: Request<catalog::CancelExecutionRequest>,
    ) -> Result<Response<catalog::CancelExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_execution_steps(
        &self,
        _: Request<catalog::ListExecutionStepsRequest>,
    ) -> Result<Response<catalog::ListExecutionStepsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn change(revision: i64) -> Result<WatchExecutionResponse, Status> {
    let change = ExecutionChange { revision, ..ExecutionChange::default() };
    Ok(WatchExecutionResponse { update: Some(Update::Change(change)) })
}

struct CountsItsDrop(Arc<Semaphore>);

impl Drop for CountsItsDrop {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// A server that runs until the test ends.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shutdown: Shutdown,
    pub(super) readiness: watch::Sender<bool>,
    pub(super) signals: Signals,
    pub(super) serving: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    pub(super) async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let signals = Signals::new();
        let (readiness, ready) = watch::channel(true);
        let stack = Stack::new()
            .service(Limited::new(MESSAGE_MAX, |longest| {
                SettingServiceServer::new(Probe(signals.clone()))
                    .max_decoding_message_size(longest)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .send_compressed(CompressionEncoding::Gzip)
            }))
            .service(Limited::new(MESSAGE_MAX, |longest| {
                ExecutionServiceServer::new(Probe(signals.clone()))
                    .max_decoding_message_size(longest)
            }))
            .gate(Identity::new())
            .readiness(ready);
        let stopping = shutdown.clone();
        let serving = tokio::spawn(async move { serve(&config, listener, stack, stopping).await });
        Self { address, shutdown, readiness, signals, serving }
    }

    pub(super) async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.address);
        Channel::from_shared(url).unwrap().connect().await.unwrap()
    }

    pub(super) async fn settings(&self) -> SettingServiceClient<Channel> {
        SettingServiceClient::new(self.channel().await)
    }

    pub(super) async fn executions(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.channel().await)
    }
}

pub(super) fn get(name: &str) -> auth::GetSettingRequest {
    auth::GetSettingRequest { name: name.to_owned() }
}

pub(super) fn watch(execution_id: &str) -> WatchExecutionRequest {
    WatchExecutionRequest { execution_id: execution_id.to_owned(), after_revision: 0 }
}

/// The name of the setting that came back.
pub(super) fn name(response: Response<auth::GetSettingResponse>) -> String {
    response.into_inner().setting.unwrap().name
}
