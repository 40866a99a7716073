//! The PostgreSQL protocol: `psql`, drivers and tools that speak it read the same tables with the same rights.
//!
//! This module accepts connections and TLS, `handlers` answers messages, `encode` turns batches into rows. What statements mean is
//! `service::jobs::SqlSession`'s business. Off unless `postgres_listen` is set. Source: query-service-api sections 16 and 23.

mod encode;
mod handlers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, DefaultClient, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use handlers::{Cancels, Door};

/// Time until a client has signed in.
const SIGN_IN_TIME: Duration = Duration::from_secs(60);
/// The codes of the first messages. Source: PostgreSQL's documentation, message formats.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// The first byte of a TLS handshake that nothing comes before.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves connections until `stop`.
pub async fn serve(listener: TcpListener, app: App, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(app.config().max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let cancels = Arc::new(Cancels::default());
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = stop.cancelled() => return,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let (app, cancels, stop) = (app.clone(), Arc::clone(&cancels), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let served = tokio::select! {
                served = connection(stream, peer, app, cancels) => served,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = served {
                tracing::debug!(%error, %peer, "a connection ended");
            }
        });
    }
}

async fn connection(mut stream: TcpStream, peer: SocketAddr, app: App, cancels: Arc<Cancels>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let acceptor = app.tls().map(|tls| with_own_protocol(&tls.acceptor()));
    let opening = tokio::time::timeout(SIGN_IN_TIME, open(&mut stream, acceptor.is_some())).await;
    let wants_tls = opening.map_err(|_| io::ErrorKind::TimedOut)??;
    match acceptor.filter(|_| wants_tls) {
        Some(acceptor) => {
            let accepting = tokio::time::timeout(SIGN_IN_TIME, acceptor.accept(stream)).await;
            let stream = accepting.map_err(|_| io::ErrorKind::TimedOut)??;
            messages(stream, peer, true, app, cancels).await
        }
        None => messages(stream, peer, false, app, cancels).await,
    }
}

/// The server's certificate with this protocol's name, which newer clients ask for.
fn with_own_protocol(acceptor: &TlsAcceptor) -> TlsAcceptor {
    let mut config = acceptor.config().as_ref().clone();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Reads what comes before the startup message; tells whether TLS begins now.
// Nothing is read ahead of the handshake, so that nothing sent in the clear can pass for a part of what is encrypted.
async fn open(stream: &mut TcpStream, has_tls: bool) -> io::Result<bool> {
    loop {
        let mut head = [0_u8; 8];
        loop {
            let length = stream.peek(&mut head).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if head[0] == TLS_HANDSHAKE {
                return if has_tls { Ok(true) } else { Err(io::Error::other("TLS is not served")) };
            }
            if length == head.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if code != SSL_REQUEST && code != GSS_REQUEST {
            return Ok(false);
        }
        stream.read_exact(&mut head).await?;
        let accepts = code == SSL_REQUEST && has_tls;
        stream.write_all(if accepts { b"S" } else { b"N" }).await?;
        if accepts {
            return Ok(true);
        }
    }
}

/// Answers messages until the client leaves.
async fn messages<S>(stream: S, peer: SocketAddr, is_secure: bool, app: App, cancels: Arc<Cancels>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let client = DefaultClient::new(peer, is_secure);
    let mut socket = Framed::new(stream, PgWireMessageServerCodec::new(client));
    socket.set_state(PgWireConnectionState::AwaitingStartup);
    let door = Arc::new(Door::new(app, cancels));
    let mut sign_in = std::pin::pin!(tokio::time::sleep(SIGN_IN_TIME));
    loop {
        let is_signing_in = matches!(
            socket.state(),
            PgWireConnectionState::AwaitingStartup | PgWireConnectionState::AuthenticationInProgress
        );
        let message = tokio::select! {
            message = socket.next() => message,
            () = &mut sign_in, if is_signing_in => None,
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                // What cannot be read leaves no place to go on from.
                let info = ErrorInfo::new("FATAL".to_string(), "08P01".to_string(), error.to_string());
                let _ = socket.send(PgWireBackendMessage::ErrorResponse(info.into())).await;
                return Ok(());
            }
            None => return Ok(()),
        };
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        let is_extended = match socket.state() {
            PgWireConnectionState::CopyInProgress(is_extended) => is_extended,
            _ => message.is_extended_query(),
        };
        let is_cancel = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        let handled = process_message(
            message,
            &mut socket,
            Arc::clone(&door),
            Arc::clone(&door),
            Arc::clone(&door),
            Arc::new(pgwire::api::NoopHandler),
            Arc::clone(&door),
        );
        match handled.await {
            Ok(()) if is_cancel => return Ok(()),
            Ok(()) => {}
            Err(PgWireError::IoError(error)) => return Err(error),
            Err(error) => {
                let is_fatal = matches!(&error, PgWireError::UserError(info) if info.severity == "FATAL");
                if is_fatal || is_signing_in {
                    let info: ErrorInfo = error.into();
                    let _ = socket.send(PgWireBackendMessage::ErrorResponse(info.into())).await;
                    return Ok(());
                }
                process_error(&mut socket, error, is_extended).await?;
            }
        }
    }
}
