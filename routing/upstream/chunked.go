package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// chunkedReader reads a chunked body (RFC 9112, 7.1). Unlike the standard
// library's it returns what has come of a chunk without waiting for the rest
// of it: an event must not be held back by the one behind it. Chunks that are
// there already are read at once. The trailer is left to the caller.
type chunkedReader struct {
	br   *bufio.Reader
	left uint64 // of the current chunk
	data bool   // a chunk has begun: a line end is due behind it
	err  error  // found behind what the last read returned
}

// maxChunkLine bounds a chunk's size with its extensions.
const maxChunkLine = 4 << 10

func (c *chunkedReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.read(p)
	for err == nil && n < len(p) && c.ready() {
		if c.left == 0 {
			if err = c.next(); err != nil {
				break
			}
		}
		var more int
		more, err = c.read(p[n:])
		n += more
	}
	if err != nil && n > 0 { // it comes again with the next read
		c.err, err = err, nil
	}
	return n, err
}

// read reads of the current chunk, once.
func (c *chunkedReader) read(p []byte) (int, error) {
	n, err := c.br.Read(p[:min(uint64(len(p)), c.left)])
	c.left -= uint64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ready reports whether more of a chunk, or the next chunk's beginning, can be
// read without waiting.
func (c *chunkedReader) ready() bool {
	if c.left > 0 {
		return c.br.Buffered() > 0
	}
	b, _ := c.br.Peek(c.br.Buffered())
	_, b, _ = bytes.Cut(b, []byte("\n")) // the end of the chunk before
	_, b, _ = bytes.Cut(b, []byte("\n")) // the line of the next one
	return len(b) > 0
}

// next reads the line before a chunk; io.EOF is that of the last one.
func (c *chunkedReader) next() error {
	if c.data {
		end, err := c.line()
		if err != nil {
			return err
		}
		if len(end) > 0 {
			return fmt.Errorf("%w: a chunk is longer than it says", errMalformed)
		}
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	size = bytes.TrimRight(size, " \t")
	if len(size) == 0 || len(size) > 15 {
		return fmt.Errorf("%w: chunk size %.20q", errMalformed, size)
	}
	c.left = 0
	for _, d := range size {
		switch {
		case d >= '0' && d <= '9':
			d -= '0'
		case d|0x20 >= 'a' && d|0x20 <= 'f':
			d = d | 0x20 - 'a' + 10
		default:
			return fmt.Errorf("%w: chunk size %.20q", errMalformed, size)
		}
		c.left = c.left<<4 | uint64(d)
	}
	c.data = true
	if c.left == 0 {
		return io.EOF
	}
	return nil
}

// line reads a line without its end.
func (c *chunkedReader) line() ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxChunkLine:
		return nil, fmt.Errorf("%w: a chunk's line is longer than %d bytes", errMalformed, maxChunkLine)
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte("\r")), nil
}
