//! Lines that somebody else writes: bounded, and one bad line does not end the stream.

use std::io;

use tokio_util::{
    bytes::BytesMut,
    codec::{Decoder, LinesCodec, LinesCodecError},
};

/// A line, or why it is none. What is too long is dropped while it arrives.
pub(crate) type Line = Result<String, LinesCodecError>;

/// Splits a stream into [`Line`]s.
pub(crate) struct BoundedLines(LinesCodec);

impl BoundedLines {
    /// Lines of at most so many bytes.
    pub(crate) fn of(max_bytes: usize) -> Self {
        BoundedLines(LinesCodec::new_with_max_length(max_bytes))
    }
}

// The inner codec reads nothing itself: its errors are all about a line.
fn item(decoded: Result<Option<String>, LinesCodecError>) -> Option<Line> {
    decoded.transpose()
}

impl Decoder for BoundedLines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        Ok(item(self.0.decode(buffer)))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        Ok(item(self.0.decode_eof(buffer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio_util::codec::FramedRead;

    #[tokio::test]
    async fn bad_lines_are_told_and_the_next_ones_are_read() {
        let mut text = b"first\n".to_vec();
        text.extend([b'x'; 100_000]);
        text.extend(b"\n\xFF\xFE\nlast");
        let mut reading = FramedRead::new(text.as_slice(), BoundedLines::of(10));
        let lines: Vec<_> = reading.by_ref().map(|line| line.unwrap().ok()).collect().await;
        assert!(reading.read_buffer().capacity() < 20_000);
        assert_eq!(lines, [Some("first".to_owned()), None, None, Some("last".to_owned())]);
    }
}
