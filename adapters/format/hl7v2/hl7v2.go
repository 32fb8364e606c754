// Package hl7v2 reads HL7 version 2 messages in their usual encoding, the one with
// delimiters, as HL7 2.9 chapter 2 describes it and as devices really send it.
//
// It knows the grammar and nothing of what a field means: no FHIR, no device. A
// message is indexed by its segments and fields when it is parsed; repetitions,
// components and subcomponents are cut out and unescaped when somebody asks. All
// values are substrings of one text, so that nothing is copied that is not changed.
//
// Numbers are those of the standard: fields, repetitions, components and
// subcomponents count from 1, and MSH-1 is the field separator. What is not there is
// empty; asking for it is no error.
//
// https://www.hl7.org/implement/standards/product_brief.cfm?product_id=185
package hl7v2

import (
	"strconv"
	"strings"
)

// Limits of what Parse takes. Beyond them it returns an *Error.
const (
	MaxBytes        = 32 << 20 // of a payload
	MaxMessages     = 1000     // of a payload
	MaxSegments     = 20_000   // of a message
	MaxSegmentBytes = 2 << 20
	MaxFields       = 512 // of a segment
)

// Error says where a payload or a value is not HL7 version 2, why, and how to mend
// it. It never quotes the payload.
type Error struct {
	Path   string // OBX[3]-5, segment 7 of message 2, …
	Reason string
	Fix    string // "" if there is nothing to be done but to correct the payload
}

// Error is path, reason and fix.
func (e *Error) Error() string {
	s := "hl7v2: "
	if e.Path != "" {
		s += e.Path + ": "
	}
	s += e.Reason
	if e.Fix != "" {
		s += "; fix: " + e.Fix
	}
	return s
}

// Message is one message. It may be read from many goroutines.
type Message struct {
	// Number of the message in its payload, from 1.
	Number int
	// Segments in the order of the message. The first is always MSH.
	Segments []Segment
	// Charset is the character set that the message was read in, by its name in table
	// 0211 (8859/1, UNICODE UTF-8 …).
	Charset string
	// Guessed tells that MSH-18 did not decide the character set: the text was not
	// UTF-8 and was read as 8859/1. Letters beyond ASCII are in doubt.
	Guessed bool
}

// Header is the segment MSH.
func (m Message) Header() Segment { return m.Segments[0] }

// First is the first segment of that name. Where there is none it is a segment
// without fields.
func (m Message) First(name string) Segment {
	for _, s := range m.Segments {
		if s.Name == name {
			return s
		}
	}
	return Segment{Name: name}
}

// Segment is one line of a message.
type Segment struct {
	Name string
	// Ordinal counts the segments of that name in the message, from 1.
	Ordinal int

	text string
	ends []uint32 // where the parts between field separators end in text
	form *form
}

// Field is field n. A field that the segment does not have is empty.
func (s Segment) Field(n int) Field {
	if s.Name == "MSH" {
		if n == 1 && s.form != nil {
			return Field{s.text[3:4], nil}
		}
		n--
	}
	if n < 1 || n >= len(s.ends) {
		return Field{}
	}
	return Field{s.text[s.ends[n-1]+1 : s.ends[n]], s.form}
}

// Fields is the number of the last field.
func (s Segment) Fields() int {
	if s.Name == "MSH" {
		return len(s.ends)
	}
	return max(0, len(s.ends)-1)
}

// Raw is the segment as it was written, without its end of line.
func (s Segment) Raw() string { return s.text }

// Path names the segment in a diagnostic: OBX[3], or "message 2: OBX[3]" when the
// payload has several messages.
func (s Segment) Path() string {
	prefix := ""
	if s.form != nil {
		prefix = s.form.path
	}
	return prefix + s.Name + "[" + strconv.Itoa(s.Ordinal) + "]"
}

// FieldPath names field n in a diagnostic: OBX[3]-5.
func (s Segment) FieldPath(n int) string { return s.Path() + "-" + strconv.Itoa(n) }

// form is how one message is written.
type form struct {
	field, component, repetition, escape, sub byte
	truncation                                byte // 0 before version 2.7
	charset                                   charset
	path                                      string // "" or "message 2: "
}

// Parse reads a payload: one message or several, each beginning with MSH, with or
// without batch segments (FHS, BHS, BTS, FTS) and MLLP frames around them. Segments
// may end in CR, LF or both, and there may be blank lines. Anything else that is no
// segment is an error, and so is a payload without a message: what cannot be read
// whole is not read at all. Every error is an *Error.
func Parse(body []byte) ([]Message, error) {
	if len(body) > MaxBytes {
		return nil, &Error{Reason: "the payload is larger than 32 MiB", Fix: "send fewer messages at a time"}
	}
	text, wide, err := unpack(body)
	if err != nil {
		return nil, err
	}
	starts := messageStarts(text)
	if len(starts) == 0 {
		return nil, &Error{Path: "byte 0", Reason: "there is no message: no line begins with MSH", Fix: "send HL7 version 2 in its encoding with delimiters, not XML or FHIR"}
	}
	if len(starts) > MaxMessages {
		return nil, &Error{Reason: "the payload has more than " + strconv.Itoa(MaxMessages) + " messages", Fix: "send fewer messages at a time"}
	}
	if err := onlyEnvelope(text[:starts[0]]); err != nil {
		return nil, err
	}
	messages := make([]Message, 0, len(starts))
	for i, start := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		path := ""
		if len(starts) > 1 {
			path = "message " + strconv.Itoa(i+1) + ": "
		}
		m, err := parse(text[start:end], wide, path)
		if err != nil {
			return nil, err
		}
		m.Number = i + 1
		messages = append(messages, m)
	}
	return messages, nil
}

// messageStarts are the offsets of the lines that begin with MSH.
func messageStarts(text string) []int {
	var starts []int
	for at := 0; at < len(text); {
		lineStart := at
		for at < len(text) && (text[at] == startBlock || text[at] == endBlock) {
			at++
		}
		if strings.HasPrefix(text[at:], "MSH") {
			starts = append(starts, at)
		}
		at = lineStart + lineLength(text[lineStart:]) + 1
	}
	return starts
}

// The bytes that frame a message on a TCP connection.
// https://www.hl7.org/implement/standards/product_brief.cfm?product_id=55
const (
	startBlock = 0x0B
	endBlock   = 0x1C
)

// lineLength is the number of bytes before the next CR or LF.
func lineLength(text string) int {
	if n := strings.IndexAny(text, "\r\n"); n >= 0 {
		return n
	}
	return len(text)
}

// onlyEnvelope checks what stands before the first message.
func onlyEnvelope(text string) error {
	for at := 0; at < len(text); {
		n := lineLength(text[at:])
		line, _, _ := unframe(text[at : at+n])
		if line != "" && !isBatch(line) {
			return &Error{Path: "byte " + strconv.Itoa(at), Reason: "there is text before the first message", Fix: "let the payload begin with MSH"}
		}
		at += n + 1
	}
	return nil
}

// unframe takes the MLLP bytes off a line and tells whether a frame ends before and
// after what is left.
func unframe(line string) (rest string, endsBefore, endsAfter bool) {
	for line != "" && (line[0] == startBlock || line[0] == endBlock) {
		endsBefore = endsBefore || line[0] == endBlock
		line = line[1:]
	}
	for line != "" && (line[len(line)-1] == startBlock || line[len(line)-1] == endBlock) {
		line, endsAfter = line[:len(line)-1], true
	}
	return line, endsBefore, endsAfter
}

func isBatch(line string) bool {
	if len(line) < 3 || len(line) > 3 && isAlphanumeric(line[3]) {
		return false
	}
	switch line[:3] {
	case "FHS", "BHS", "BTS", "FTS":
		return true
	}
	return false
}

// parse reads one message, which begins with MSH.
func parse(text string, wide bool, path string) (Message, error) {
	f, guessed, err := readForm(text[:lineLength(text)], wide, path)
	if err != nil {
		return Message{}, err
	}
	if text, guessed, err = f.charset.decode(text, guessed); err != nil {
		return Message{}, &Error{Path: path + "MSH-18", Reason: err.Error(), Fix: "state in MSH-18 the character set that is sent, such as UNICODE UTF-8"}
	}
	if guessed {
		f.charset = latin1()
	}
	m := Message{Charset: f.charset.name, Guessed: guessed}
	// One slice holds the bounds of all fields; its capacity is exact, so that
	// the segments can keep parts of it.
	bounds := make([]uint32, 0, strings.Count(text, string(rune(f.field)))+strings.Count(text, "\r")+strings.Count(text, "\n")+1)
	m.Segments = make([]Segment, 0, min(MaxSegments, strings.Count(text, "\r")+strings.Count(text, "\n")+1))
	ordinals := make(map[string]int, 8)
	closed := false
	for at := 0; at < len(text); {
		n := lineLength(text[at:])
		line, endsBefore, endsAfter := unframe(text[at : at+n])
		at += n + 1
		wasClosed := closed || endsBefore
		closed = wasClosed || endsAfter
		if line == "" {
			continue
		}
		if isBatch(line) {
			closed = true
			continue
		}
		fail := func(reason, fix string) error {
			return &Error{Path: path + "segment " + strconv.Itoa(len(m.Segments)+1), Reason: reason, Fix: fix}
		}
		if wasClosed {
			return Message{}, fail("there is text after the end of the message", "begin every message with MSH")
		}
		if !isSegment(line, f.field) {
			return Message{}, fail("the line is no segment: it does not begin with a name of three letters and the field separator", "escape line breaks inside a field as \\.br\\")
		}
		if len(line) > MaxSegmentBytes {
			return Message{}, fail("the segment is larger than 2 MiB", "")
		}
		if len(m.Segments) == MaxSegments {
			return Message{}, fail("the message has more than "+strconv.Itoa(MaxSegments)+" segments", "send fewer observations in a message")
		}
		first := len(bounds)
		for from := 0; ; {
			i := strings.IndexByte(line[from:], f.field)
			if i < 0 {
				bounds = append(bounds, uint32(len(line)))
				break
			}
			bounds = append(bounds, uint32(from+i))
			from += i + 1
		}
		if len(bounds)-first > MaxFields {
			return Message{}, fail("the segment has more than "+strconv.Itoa(MaxFields)+" fields", "")
		}
		name := line[:3]
		ordinals[name]++
		m.Segments = append(m.Segments, Segment{name, ordinals[name], line, bounds[first:len(bounds):len(bounds)], f})
	}
	return m, nil
}

func isSegment(line string, separator byte) bool {
	if len(line) < 3 || len(line) > 3 && line[3] != separator {
		return false
	}
	if line[0] < 'A' || line[0] > 'Z' {
		return false
	}
	for i := 1; i < 3; i++ {
		if c := line[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// readForm reads from the line MSH how the message is written.
func readForm(header string, wide bool, path string) (*form, bool, error) {
	header, _, _ = unframe(header)
	if len(header) < 5 || !isDelimiter(header[3]) {
		return nil, false, &Error{Path: path + "MSH-1", Reason: "the message has no field separator and encoding characters", Fix: "begin the message with MSH|^~\\&|"}
	}
	f := &form{field: header[3], path: path}
	encoding := header[4:]
	if i := strings.IndexByte(encoding, f.field); i >= 0 {
		encoding = encoding[:i]
	}
	to := []*byte{&f.component, &f.repetition, &f.escape, &f.sub, &f.truncation}
	if len(encoding) == 0 || len(encoding) > len(to) {
		return nil, false, &Error{Path: path + "MSH-2", Reason: "there are not one to five encoding characters", Fix: "send ^~\\& or ^~\\&#"}
	}
	for i := range len(encoding) {
		if !isDelimiter(encoding[i]) || strings.IndexByte(encoding[:i], encoding[i]) >= 0 {
			return nil, false, &Error{Path: path + "MSH-2", Reason: "the encoding characters are not punctuation marks that differ from each other", Fix: "send ^~\\& or ^~\\&#"}
		}
		*to[i] = encoding[i]
	}
	declared := ""
	parts := strings.SplitN(header, string(rune(f.field)), 19)
	if len(parts) >= 18 {
		// Several repetitions name sets that escape sequences switch to; the first is the
		// set of the message.
		declared, _, _ = strings.Cut(parts[17], string(rune(f.repetition)))
		declared, _, _ = strings.Cut(declared, string(rune(f.component)))
	}
	c, guessing, ok := charsetOf(declared, wide)
	if !ok {
		return nil, false, &Error{Path: path + "MSH-18", Reason: "the character set is not one that can be read", Fix: "send UNICODE UTF-8, ASCII or one of 8859/1 to 8859/15"}
	}
	f.charset = c
	return f, guessing, nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isDelimiter(c byte) bool {
	return c > ' ' && c < 0x7F && !isAlphanumeric(c) && c != '"' && c != '-' && c != '+' && c != '.'
}
