package ndjson

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how the files of an export are compressed.
type Compression string

// The compressions. Zstd is faster and smaller than Gzip, which every machine can read.
const (
	None Compression = "none"
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

var compressions = []Compression{None, Gzip, Zstd}

// ParseCompression is the compression of that name.
func ParseCompression(name string) (Compression, error) {
	for _, c := range compressions {
		if name == string(c) {
			return c, nil
		}
	}
	return "", fmt.Errorf("want none, gzip or zstd")
}

func (c Compression) extension() string {
	switch c {
	case Gzip:
		return ".gz"
	case Zstd:
		return ".zst"
	}
	return ""
}

// window is how far back zstd looks: more makes vital signs hardly smaller. A reader needs no
// more memory than that, however long a line is.
const window = 1 << 20

// encoder makes frames of lines: the same lines give the same bytes.
type encoder struct {
	compression Compression
	zstd        *zstd.Encoder
	out         []byte
}

func newEncoder(c Compression) (*encoder, error) {
	e := &encoder{compression: c}
	if c != Zstd {
		return e, nil
	}
	var err error
	e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithEncoderCRC(true))
	return e, err
}

// frame is the frame of some lines. It is valid until the next one.
func (e *encoder) frame(lines []byte) ([]byte, error) {
	switch e.compression {
	case Zstd:
		e.out = e.zstd.EncodeAll(lines, e.out[:0])
		return e.out, nil
	case Gzip:
		buffer := bytes.NewBuffer(e.out[:0])
		z := gzip.NewWriter(buffer)
		if _, err := z.Write(lines); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		e.out = buffer.Bytes()
		return e.out, nil
	}
	return lines, nil
}

func (e *encoder) close() error {
	if e.zstd == nil {
		return nil
	}
	return e.zstd.Close()
}

// decoder reads the lines of frames.
func decoder(r io.Reader, c Compression) (io.ReadCloser, error) {
	switch c {
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case Gzip:
		return gzip.NewReader(r)
	}
	return io.NopCloser(r), nil
}
