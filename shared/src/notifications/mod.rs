//! Hints between replicas, over one LISTEN connection: something changed, look.
//!
//! Nothing depends on a hint's arrival. Whoever waits for one also looks at
//! times of its own.

mod store;

use std::{str::FromStr, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::broadcast::{self, error::RecvError};

pub use self::store::notify;
use crate::Result;

/// How many hints a slow reader may lag behind before it is told to look at everything.
const LAG_MAX: usize = 1024;
/// How long to wait before listening again after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Credentials were revoked.
    Revocations,
    /// Executions were queued.
    Queue,
    /// Executions changed; the payload lists their ids and revisions, as in
    /// `<id>:<revision>`, separated by commas.
    Executions,
    /// Signing keys were made or removed.
    SigningKeys,
    /// Mails are to be sent.
    Mails,
}

impl Channel {
    const ALL: [Channel; 5] = [
        Channel::Revocations,
        Channel::Queue,
        Channel::Executions,
        Channel::SigningKeys,
        Channel::Mails,
    ];

    /// The name in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Revocations => "ihuman_revocations",
            Channel::Queue => "ihuman_queue",
            Channel::Executions => "ihuman_executions",
            Channel::SigningKeys => "ihuman_signing_keys",
            Channel::Mails => "ihuman_mails",
        }
    }
}

impl FromStr for Channel {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Channel::ALL.into_iter().find(|it| it.name() == name).ok_or(())
    }
}

/// Where hints come from.
#[derive(Clone)]
pub struct Notifications(broadcast::Sender<Hint>);

#[derive(Clone, Debug)]
enum Hint {
    On(Channel, String),
    // The connection was lost, and with it perhaps a hint.
    Everything,
}

/// The hints of one channel.
pub struct Hints {
    channel: Channel,
    receiver: broadcast::Receiver<Hint>,
}

impl Notifications {
    /// Listens until every clone and every subscription is dropped.
    pub fn listen(db: PgPool) -> Self {
        let (sender, _) = broadcast::channel(LAG_MAX);
        let notifications = Notifications(sender.clone());
        tokio::spawn(async move {
            while let Err(error) = forward(&db, &sender).await {
                tracing::warn!(%error, "can't listen for notifications");
                let _ = sender.send(Hint::Everything);
                tokio::time::sleep(RETRY_AFTER).await;
            }
        });
        notifications
    }

    /// The hints of `channel` from now on.
    pub fn subscribe(&self, channel: Channel) -> Hints {
        Hints { channel, receiver: self.0.subscribe() }
    }
}

async fn forward(db: &PgPool, sender: &broadcast::Sender<Hint>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(db).await?;
    listener.listen_all(Channel::ALL.map(Channel::name)).await?;
    loop {
        let hint = match listener.try_recv().await? {
            None => Hint::Everything,
            Some(notification) => match notification.channel().parse() {
                Ok(channel) => Hint::On(channel, notification.payload().to_owned()),
                Err(()) => continue,
            },
        };
        // Nobody may be subscribed just now.
        let _ = sender.send(hint);
    }
}

impl Hints {
    /// The payload of the next hint; none when any may have been missed.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match self.receiver.recv().await {
                Ok(Hint::On(channel, payload)) if channel == self.channel => return Some(payload),
                Ok(Hint::On(..)) => {}
                Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => return None,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Waits for a hint, and takes all that came with it.
    pub async fn next_batch(&mut self) {
        self.next().await;
        while self.receiver.try_recv().is_ok() {}
    }
}
