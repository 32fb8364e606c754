package rest

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/kiln-health/kiln/fhir"
)

// minCompressed is how long a body must be for compression to pay.
const minCompressed = 1400

// maxWindow is how much memory the window of a compressed request may take.
const maxWindow = 8 << 20

// coding is a content coding. https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
type coding struct {
	name    string
	writers sync.Pool // of resetWriter
	reader  func(io.Reader) (io.ReadCloser, error)
}

type resetWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

// newCodings are the codings that are spoken, the preferred one first.
func newCodings() []*coding {
	z := &coding{name: "zstd", reader: func(r io.Reader) (io.ReadCloser, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}}
	z.writers.New = func() any {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil
		}
		return w
	}
	g := &coding{name: "gzip", reader: func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }}
	g.writers.New = func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			return nil
		}
		return w
	}
	return []*coding{z, g}
}

// compress writes body to w.
func (c *coding) compress(w io.Writer, body []byte) error {
	z, ok := c.writers.Get().(resetWriter)
	if !ok {
		return io.ErrClosedPipe
	}
	z.Reset(w)
	_, err := z.Write(body)
	if closing := z.Close(); err == nil {
		err = closing
	}
	z.Reset(nil)
	c.writers.Put(z)
	return err
}

// chosen is the coding that Accept-Encoding gives the highest quality, nil for none.
// https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
func chosen(codings []*coding, accept []string) *coding {
	var best *coding
	bestQuality := 0.0
	quality := map[string]float64{}
	for _, element := range splitList(strings.Join(accept, ",")) {
		name, params, _ := strings.Cut(element, ";")
		q := 1.0
		if _, value, ok := strings.Cut(strings.ReplaceAll(params, " ", ""), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(value, 64); err != nil {
				q = 0
			}
		}
		quality[strings.ToLower(strings.TrimSpace(name))] = q
	}
	for _, c := range codings {
		q, named := quality[c.name]
		if !named {
			q = quality["*"]
		}
		if q > bestQuality && q <= 1 {
			best, bestQuality = c, q
		}
	}
	return best
}

// unpack lets the body of a request be read without its content coding. What the limit of
// a body counts are the unpacked bytes. The function closes what was opened.
func (s *server) unpack(x *exchange) (done func(), err error) {
	done = func() {}
	name := strings.ToLower(strings.TrimSpace(x.Header.Get("Content-Encoding")))
	if name == "x-gzip" {
		name = "gzip"
	}
	i := slices.IndexFunc(s.codings, func(c *coding) bool { return c.name == name })
	if i < 0 || x.ContentLength == 0 {
		return done, nil // another coding is refused by who reads the body
	}
	r, err := s.codings[i].reader(x.Body)
	if err != nil {
		return done, refuse(http.StatusBadRequest, fhir.CodeStructure, "the body is not in the coding that Content-Encoding names").
			fix("compress it with " + name + ", or send it without Content-Encoding")
	}
	x.Header = x.Header.Clone()
	x.Header.Del("Content-Encoding")
	x.Body, x.ContentLength = r, -1
	return func() { _ = r.Close() }, nil // it was only read
}
