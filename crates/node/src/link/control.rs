//! The control stream: the first bidirectional stream of a link, opened by the client.

use adit_core::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        codec::{self, EncodeError},
        control::Control,
    },
};
use bytes::BytesMut;

use crate::stream::{RecvStream, SendStream, StreamError};

/// Messages in both directions, one frame each.
#[derive(Debug)]
pub struct ControlStream {
    send: SendStream,
    recv: RecvStream,
}

/// Why there is no more to say or to hear.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The stream broke, or what came over it is no message.
    #[error("the control stream: {0}")]
    Stream(#[from] StreamError),
    /// A message of ours is too large.
    #[error("a control message: {0}")]
    Encode(#[from] EncodeError),
}

impl ControlStream {
    /// Opens the control stream; the client's side.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub async fn open(quic: &quinn::Connection) -> Result<Self, quinn::ConnectionError> {
        let (send, recv) = quic.open_bi().await?;
        Ok(Self { send: SendStream::new(send), recv: RecvStream::new(recv) })
    }

    /// Accepts the control stream; the server's side.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub async fn accept(quic: &quinn::Connection) -> Result<Self, quinn::ConnectionError> {
        let (send, recv) = quic.accept_bi().await?;
        Ok(Self { send: SendStream::new(send), recv: RecvStream::new(recv) })
    }

    /// Reads the next message, or `None` when the peer has closed the stream. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the stream breaks or the message is malformed.
    pub async fn read(&mut self) -> Result<Option<Control>, ControlError> {
        let Some(frame) = self.recv.frame(CONTROL_FRAME_BYTES_MAX).await? else { return Ok(None) };
        let message = codec::decode(&frame).map_err(StreamError::from)?;
        Ok(Some(message))
    }

    /// Writes a message. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// When the stream breaks or the message is too large.
    pub async fn write(&mut self, message: &Control) -> Result<(), ControlError> {
        let mut frame = BytesMut::new();
        codec::encode(message, CONTROL_FRAME_BYTES_MAX, &mut frame)?;
        self.send.write(&mut [frame.freeze()]).await?;
        Ok(())
    }
}
