package hl7v2

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// charset is a character set of table 0211. Without a table it is UTF-8.
type charset struct {
	name  string
	table *charmap.Charmap
}

func latin1() charset { return charset{"8859/1", charmap.ISO8859_1} }

// charsetOf finds the set that MSH-18 declares. guessing tells that the declaration
// does not settle how letters beyond ASCII are encoded. wide tells that the payload
// was UTF-16, which its bytes prove, whatever MSH-18 says.
func charsetOf(declared string, wide bool) (c charset, guessing, ok bool) {
	if wide {
		return charset{name: "UNICODE UTF-16"}, false, true
	}
	name := strings.ToUpper(strings.TrimSpace(declared))
	switch name {
	case "", `""`:
		return charset{name: "UNICODE UTF-8"}, true, true
	case "ASCII", "US-ASCII":
		return charset{name: "ASCII"}, true, true
	case "UNICODE", "UNICODE UTF-16":
		// The bytes are not UTF-16, or they would have been read as such.
		return charset{name: "UNICODE UTF-8"}, true, true
	case "UNICODE UTF-8", "UTF-8", "UTF8":
		return charset{name: "UNICODE UTF-8"}, false, true
	}
	number, found := strings.CutPrefix(strings.TrimPrefix(name, "ISO"), "8859/")
	if !found {
		number, found = strings.CutPrefix(strings.TrimLeft(strings.TrimPrefix(name, "ISO"), "- "), "8859-")
	}
	if !found {
		return charset{}, false, false
	}
	tables := map[string]*charmap.Charmap{
		"1": charmap.ISO8859_1, "2": charmap.ISO8859_2, "3": charmap.ISO8859_3, "4": charmap.ISO8859_4,
		"5": charmap.ISO8859_5, "6": charmap.ISO8859_6, "7": charmap.ISO8859_7, "8": charmap.ISO8859_8,
		"9": charmap.ISO8859_9, "10": charmap.ISO8859_10, "13": charmap.ISO8859_13, "14": charmap.ISO8859_14,
		"15": charmap.ISO8859_15,
	}
	table, found := tables[number]
	return charset{"8859/" + number, table}, false, found
}

// decode makes UTF-8 of text. Where guessing is allowed, text that is not UTF-8 is
// read as 8859/1, and guessed tells so.
func (c charset) decode(text string, guessing bool) (decoded string, guessed bool, err error) {
	if c.table == nil {
		if utf8.ValidString(text) {
			return text, false, nil
		}
		if !guessing {
			return "", false, errors.New("the message is not in the character set that it declares")
		}
		c, guessed = latin1(), true
	}
	if isASCII(text) {
		return text, guessed, nil
	}
	decoded, err = c.table.NewDecoder().String(text)
	if err != nil || strings.ContainsRune(decoded, utf8.RuneError) {
		return "", false, errors.New("the message is not in the character set that it declares")
	}
	return decoded, guessed, nil
}

func (c charset) decodeBytes(raw []byte) (string, bool) {
	text, _, err := c.decode(string(raw), false)
	return text, err == nil
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// unpack takes byte order marks and UTF-16 off the payload.
func unpack(body []byte) (text string, wide bool, err error) {
	begins := func(mark string) bool { return len(body) >= len(mark) && string(body[:len(mark)]) == mark }
	var order unicode.Endianness
	switch {
	case begins("\xEF\xBB\xBF"):
		return string(body[3:]), false, nil
	case begins("\xFF\xFE"), begins("M\x00S\x00H\x00"), begins("\x0B\x00M\x00"):
		order = unicode.LittleEndian
	case begins("\xFE\xFF"), begins("\x00M\x00S\x00H"), begins("\x00\x0B\x00M"):
		order = unicode.BigEndian
	default:
		return string(body), false, nil
	}
	decoded, err := unicode.UTF16(order, unicode.UseBOM).NewDecoder().Bytes(body)
	if err != nil && errors.Is(err, unicode.ErrMissingBOM) {
		decoded, err = unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder().Bytes(body)
	}
	if err != nil || strings.ContainsRune(string(decoded), utf8.RuneError) {
		return "", false, &Error{Path: "byte 0", Reason: "the payload begins as UTF-16 and is not", Fix: "send UNICODE UTF-8"}
	}
	return string(decoded), true, nil
}
