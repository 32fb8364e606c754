package mongotest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	opReply = 1
	opQuery = 2004
	opMsg   = 2013

	maxMessage = 48_000_000

	flagChecksum   = 1
	flagMoreToCome = 2
)

// message is what a client sends: a command. https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
type message struct {
	id       int32
	op       int32
	silent   bool // no reply is wanted
	command  bson.Raw
	sections map[string][]bson.Raw
}

var errMessage = errors.New("this is not a message of the MongoDB wire protocol")

// readMessage reads one message; io.EOF if there is none.
func readMessage(r io.Reader) (message, error) {
	var header [16]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return message{}, err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n < 16 || n > maxMessage {
		return message{}, fmt.Errorf("%w: a length of %d", errMessage, n)
	}
	var b bytes.Buffer // grows with what comes, not with what is announced
	b.Write(header[:])
	if _, err := io.CopyN(&b, r, int64(n)-16); err != nil {
		return message{}, err
	}
	return parseMessage(b.Bytes())
}

// parseMessage reads OP_MSG, and OP_QUERY as clients use it to say hello.
func parseMessage(b []byte) (message, error) {
	if len(b) < 21 || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)) {
		return message{}, errMessage
	}
	m := message{id: int32(binary.LittleEndian.Uint32(b[4:])), op: int32(binary.LittleEndian.Uint32(b[12:]))}
	flags := binary.LittleEndian.Uint32(b[16:])
	rest := b[20:]
	switch m.op {
	case opQuery:
		end := bytes.IndexByte(rest, 0)
		if end < 0 || len(rest) < end+9 {
			return m, errMessage
		}
		var err error
		m.command, _, err = cut(rest[end+9:])
		return m, err
	case opMsg:
	default:
		return m, fmt.Errorf("%w: operation %d", errMessage, m.op)
	}
	if flags&flagChecksum != 0 {
		if len(rest) < 4 {
			return m, errMessage
		}
		rest = rest[:len(rest)-4]
	}
	if flags&0xffff&^(flagChecksum|flagMoreToCome) != 0 {
		return m, fmt.Errorf("%w: flags %x", errMessage, flags)
	}
	m.silent = flags&flagMoreToCome != 0
	for len(rest) > 0 {
		kind := rest[0]
		rest = rest[1:]
		switch kind {
		case 0:
			if m.command != nil {
				return m, errMessage
			}
			var err error
			if m.command, rest, err = cut(rest); err != nil {
				return m, err
			}
		case 1:
			if len(rest) < 4 {
				return m, errMessage
			}
			n := binary.LittleEndian.Uint32(rest)
			if n < 5 || uint64(n) > uint64(len(rest)) {
				return m, errMessage
			}
			name, docs, ok := bytes.Cut(rest[4:n], []byte{0})
			rest = rest[n:]
			if !ok {
				return m, errMessage
			}
			if m.sections == nil {
				m.sections = map[string][]bson.Raw{}
			}
			list := []bson.Raw{}
			for len(docs) > 0 {
				var doc bson.Raw
				var err error
				if doc, docs, err = cut(docs); err != nil {
					return m, err
				}
				list = append(list, doc)
			}
			m.sections[string(name)] = list
		default:
			return m, errMessage
		}
	}
	if m.command == nil {
		return m, errMessage
	}
	return m, nil
}

// cut takes a document from the front.
func cut(b []byte) (bson.Raw, []byte, error) {
	if len(b) < 5 {
		return nil, nil, errMessage
	}
	n := binary.LittleEndian.Uint32(b)
	if n < 5 || uint64(n) > uint64(len(b)) {
		return nil, nil, errMessage
	}
	doc := b[:n:n]
	if err := check(doc, 0); err != nil {
		return nil, nil, err
	}
	return doc, b[n:], nil
}

// reply is the answer to a message as bytes.
func reply(to message, id int32, body bson.Raw) []byte {
	b := make([]byte, 16, 16+20+len(body))
	binary.LittleEndian.PutUint32(b[4:], uint32(id))
	binary.LittleEndian.PutUint32(b[8:], uint32(to.id))
	if to.op == opQuery {
		binary.LittleEndian.PutUint32(b[12:], opReply)
		b = append(b, 8, 0, 0, 0) // awaitCapable
		b = append(b, make([]byte, 12)...)
		b = append(b, 1, 0, 0, 0)
	} else {
		binary.LittleEndian.PutUint32(b[12:], opMsg)
		b = append(b, 0, 0, 0, 0, 0)
	}
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}
