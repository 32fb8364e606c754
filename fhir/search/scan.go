package search

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/go-json-experiment/json/jsontext"
)

// tape takes JSON apart, forward only, in time that grows with its length. It trusts
// JSON as far as that is safe: what is skipped is not looked at closely. After an error
// there is nothing more to read.
type tape struct {
	json []byte
	pos  int
	err  error
	name []byte // holds a name with escapes
	buf  []byte // holds a text with escapes
}

var (
	errSyntax = errors.New("not valid JSON")
	errObject = errors.New("not a JSON object")
)

func (s *tape) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// peek is the next byte that is no white space, 0 at the end and after an error.
func (s *tape) peek() byte {
	for s.pos < len(s.json) {
		c := s.json[s.pos]
		if c > ' ' || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			if s.err != nil {
				return 0
			}
			return c
		}
		s.pos++
	}
	return 0
}

// more reports whether another member of an object, or item of an array, follows. At the
// end it takes the closing bracket.
func (s *tape) more(closing byte) bool {
	c := s.peek()
	if c == ',' {
		s.pos++
		c = s.peek()
	}
	switch c {
	case closing:
		s.pos++
		return false
	case 0:
		s.fail(errSyntax)
		return false
	}
	return true
}

// member is the name of the next member; the tape is then at its value. It is valid
// until the next call.
func (s *tape) member() []byte {
	start, end, escaped := s.text()
	if s.peek() != ':' {
		s.fail(errSyntax)
		return nil
	}
	s.pos++
	name := s.json[start:end]
	if escaped {
		var err error
		if s.name, err = jsontext.AppendUnquote(s.name[:0], s.json[start-1:end+1]); err != nil {
			s.fail(errSyntax)
		}
		name = s.name
	}
	return name
}

// text takes a string and says where it is, without its quotes.
func (s *tape) text() (start, end int, escaped bool) {
	if s.peek() != '"' {
		s.fail(errSyntax)
		return 0, 0, false
	}
	json := s.json
	start = s.pos + 1
	at := start
	for at-start < 64 && len(json)-at >= 8 { // there are faster ways for what is long
		n := beforeQuote(binary.LittleEndian.Uint64(json[at:]))
		if at += n; n == 8 {
			continue
		}
		if json[at] != '"' {
			break
		}
		s.pos = at + 1
		return start, at, false
	}
	return s.longText(start, at)
}

// beforeQuote is how many of eight bytes, the first being the lowest, come before a quote or
// a backslash: 8 if there is none.
func beforeQuote(eight uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quotes, slashes := eight^ones*'"', eight^ones*'\\'
	// The highest bit of the lowest byte that is zero now, and perhaps of some above that.
	found := ((quotes-ones)&^quotes | (slashes-ones)&^slashes) & highs
	return bits.TrailingZeros64(found) / 8
}

// plain takes a string and gives what it says. It is valid until the next call.
func (s *tape) plain() []byte {
	start, end, escaped := s.text()
	if s.err != nil || !escaped {
		return s.json[start:end]
	}
	var err error
	if s.buf, err = jsontext.AppendUnquote(s.buf[:0], s.json[start-1:end+1]); err != nil {
		s.fail(errSyntax)
	}
	return s.buf
}

// longText is text from where it is read on, at.
func (s *tape) longText(start, at int) (from, end int, escaped bool) {
	quote := -1
	for at < len(s.json) {
		if quote < at { // else it is looked for once, however many backslashes there are
			n := bytes.IndexByte(s.json[at:], '"')
			if n < 0 {
				break
			}
			quote = at + n
		}
		slash := bytes.IndexByte(s.json[at:quote], '\\')
		if slash < 0 {
			s.pos = quote + 1
			return start, quote, escaped
		}
		escaped = true
		at += slash + 2
	}
	s.pos = len(s.json)
	s.fail(errSyntax)
	return 0, 0, false
}

// skip passes over a value.
func (s *tape) skip() {
	depth := 0
	for {
		switch c := s.peek(); c {
		case '"':
			s.text()
		case '{', '[':
			s.pos++
			depth++
		case '}', ']':
			if depth == 0 {
				s.fail(errSyntax)
				return
			}
			s.pos++
			depth--
		case ',', ':':
			if depth == 0 {
				s.fail(errSyntax)
				return
			}
			s.pos++
		case 0:
			s.fail(errSyntax)
			return
		default:
			s.word()
		}
		if depth == 0 || s.err != nil {
			return
		}
	}
}

// word takes a number, true, false or null.
func (s *tape) word() []byte {
	start := s.pos
	for s.pos < len(s.json) {
		switch s.json[s.pos] {
		case ',', '}', ']', ' ', '\t', '\r', '\n', ':', '"', '{', '[':
			return s.json[start:s.pos]
		}
		s.pos++
	}
	return s.json[start:s.pos]
}
