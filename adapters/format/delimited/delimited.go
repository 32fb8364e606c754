// Package delimited reads the tables that device software exports as text: comma,
// semicolon or tab between cells, with or without quotes and byte order mark, in
// UTF-8 or UTF-16, with any line end. It knows nothing of what the cells mean.
//
// It differs from encoding/csv where exports need it: a row that is broken is reported
// with its line and reading goes on at the next line, so that one stray quote costs
// one row and not the rest of the file; a row has as many cells as the header or is
// reported; lines may end in a lone CR.
//
// The syntax is that of https://www.rfc-editor.org/rfc/rfc4180 with these liberties.
package delimited

import (
	"fmt"
	"iter"
	"strings"
)

// Limits of a table. What is beyond is an error that ends reading.
const (
	MaxLine    = 1 << 20 // bytes of a record
	MaxColumns = 200
	MaxRows    = 2_000_000
)

// Row is one record below the header. Line is the line on which it starts, counted
// from 1 in the whole text. Cells are as written, without their quotes; the slice is
// valid until the next row, the texts stay valid.
type Row struct {
	Line  int
	Cells []string
	// Last tells that the text ends with this row and no line end follows: what wrote
	// the file may have been interrupted.
	Last bool
}

// Error is what is wrong with a table. Line 0 is the text as a whole. It never holds
// the content of a cell.
type Error struct {
	Line   int
	Reason string
	Fix    string
	Fatal  bool // reading has ended; otherwise the error is about this row only
}

// Error is "line 17: reason; fix: …".
func (e *Error) Error() string {
	s := e.Reason
	if e.Line > 0 {
		s = fmt.Sprintf("line %d: %s", e.Line, s)
	}
	if e.Fix != "" {
		s += "; fix: " + e.Fix
	}
	return s
}

// Reader reads one table. It is not for use by several goroutines at once.
type Reader struct {
	text      string // what has not been read yet
	line      int    // number of the first line of text
	lineEnd   byte   // '\n', or '\r' where no '\n' occurs
	complete  bool   // the text ends with a line end
	delimiter byte
	header    []string
	cells     []string // of the current row, reused
}

// Open decodes body and reads the header, which is the first line that is not blank;
// its commas, semicolons and tabs outside quotes tell the delimiter. Errors are of
// type *Error.
func Open(body []byte) (*Reader, error) {
	text, err := decode(body)
	if err != nil {
		return nil, err
	}
	r := &Reader{text: text, line: 1, lineEnd: '\n'}
	if strings.IndexByte(text, '\n') < 0 {
		r.lineEnd = '\r'
	}
	r.complete = strings.HasSuffix(text, string(r.lineEnd))
	if !r.skipBlank() {
		return nil, &Error{Reason: "there is no header", Fix: "send the table with its header line", Fatal: true}
	}
	record, lines, e := r.record()
	if e != nil {
		e.Fatal = true
		return nil, e
	}
	r.delimiter = delimiterOf(record)
	if r.delimiter == 0 {
		return nil, &Error{Line: r.line, Reason: "the header has no comma, semicolon or tab between columns",
			Fix: "send the table as it was exported", Fatal: true}
	}
	cells, reason := r.split(record)
	if reason != "" {
		return nil, &Error{Line: r.line, Reason: "the header: " + reason, Fix: "send the table as it was exported", Fatal: true}
	}
	r.header = append([]string(nil), cells...)
	r.header[0] = unwrap(r.header[0])
	r.advance(record, lines)
	return r, nil
}

// Header are the names of the columns as written; marks of a wrongly repeated byte
// order mark and quotes around the first one are removed.
func (r *Reader) Header() []string { return r.header }

// Rows are the records below the header, each once. Blank lines are no rows. A row that
// cannot be read comes with an *Error and the number of its line only; unless the error
// is Fatal, the next row follows.
func (r *Reader) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for n := 0; ; n++ {
			row, err, more := r.next()
			if !more {
				return
			}
			if n == MaxRows {
				err = &Error{Line: row.Line, Reason: fmt.Sprintf("more than %d rows", MaxRows), Fix: "split the export", Fatal: true}
				row.Cells = nil
			}
			if err != nil {
				if !yield(row, err) || err.Fatal {
					return
				}
				continue
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// next reads one row. Without more there is none.
func (r *Reader) next() (row Row, err *Error, more bool) {
	if !r.skipBlank() {
		return row, nil, false
	}
	row.Line = r.line
	record, lines, err := r.record()
	if err != nil && err.Fatal {
		r.text = ""
		return row, err, true
	}
	if err == nil {
		var reason, fix string
		row.Cells, reason = r.split(record)
		if reason == "" && len(row.Cells) != len(r.header) {
			reason = fmt.Sprintf("%d cells, but the header has %d", len(row.Cells), len(r.header))
			fix = "the row is cut off or has a delimiter too many; export again"
		}
		if reason != "" {
			err = &Error{Line: r.line, Reason: reason, Fix: fix}
		}
	}
	if err != nil {
		row.Cells = nil
		// Quotes that seem to join lines are not trusted in a broken row: only its first line is given up.
		record, _, _ = r.physical(r.text)
		lines = 1
	}
	r.advance(record, lines)
	row.Last = r.text == "" && !r.complete
	return row, err, true
}

// skipBlank moves to the next line that is not blank and reports whether there is one.
func (r *Reader) skipBlank() bool {
	for {
		line, rest, ok := r.physical(r.text)
		if !ok || strings.TrimSpace(line) != "" {
			return ok
		}
		r.text, r.line = rest, r.line+1
	}
}

// physical cuts the first line off text, without its line end.
func (r *Reader) physical(text string) (line, rest string, ok bool) {
	if text == "" {
		return "", "", false
	}
	n := strings.IndexByte(text, r.lineEnd)
	if n < 0 {
		return text, "", true
	}
	return text[:n], text[n+1:], true
}

// record is the text of the next record: one line, or as many as it takes until its
// quotes are closed. The CR of CR LF stays at its end.
func (r *Reader) record() (record string, lines int, err *Error) {
	end, open := 0, false
	for lines = 1; ; lines++ {
		line, _, ok := r.physical(r.text[end:])
		if !ok {
			return "", lines, &Error{Line: r.line, Reason: "a quote is not closed", Fix: "close or double the quote"}
		}
		if end+len(line) > MaxLine {
			if lines > 1 {
				return "", lines, &Error{Line: r.line, Reason: "a quote is not closed", Fix: "close or double the quote"}
			}
			return "", lines, &Error{Line: r.line, Reason: fmt.Sprintf("the line is longer than %d bytes", MaxLine), Fix: "send the table as it was exported", Fatal: true}
		}
		if strings.Count(line, `"`)%2 == 1 {
			open = !open
		}
		end += len(line)
		if !open {
			return r.text[:end], lines, nil
		}
		if end < len(r.text) {
			end++ // the line end
		}
	}
}

// advance moves behind record and its line end.
func (r *Reader) advance(record string, lines int) {
	n := len(record)
	if n < len(r.text) {
		n++
	}
	r.text, r.line = r.text[n:], r.line+lines
}

// split cuts a record into cells. A reason tells what is wrong with it.
func (r *Reader) split(record string) (cells []string, reason string) {
	if r.lineEnd == '\n' {
		record = strings.TrimSuffix(record, "\r")
	}
	for n := range len(record) {
		if c := record[n]; c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return nil, fmt.Sprintf("a control character (U+%04X)", c)
		}
	}
	r.cells = r.cells[:0]
	for {
		if len(r.cells) == MaxColumns {
			return nil, fmt.Sprintf("more than %d cells", MaxColumns)
		}
		var cell string
		var more bool
		if strings.HasPrefix(record, `"`) {
			cell, record, more, reason = r.quoted(record[1:])
		} else {
			cell, record, more, reason = r.bare(record)
		}
		if reason != "" {
			return nil, reason
		}
		r.cells = append(r.cells, cell)
		if !more {
			return r.cells, ""
		}
	}
}

func (r *Reader) bare(record string) (cell, rest string, more bool, reason string) {
	cell = record
	if n := strings.IndexByte(record, r.delimiter); n >= 0 {
		cell, rest, more = record[:n], record[n+1:], true
	}
	if strings.IndexByte(cell, '"') >= 0 {
		return "", "", false, "a quote stands inside a cell that does not begin with one"
	}
	return cell, rest, more, ""
}

func (r *Reader) quoted(record string) (cell, rest string, more bool, reason string) {
	end, doubled := 0, false
	for {
		n := strings.IndexByte(record[end:], '"')
		if n < 0 {
			return "", "", false, "a quote is not closed"
		}
		end += n
		if !strings.HasPrefix(record[end+1:], `"`) {
			break
		}
		doubled = true
		end += 2
	}
	cell, rest = record[:end], record[end+1:]
	if doubled {
		cell = strings.ReplaceAll(cell, `""`, `"`)
	}
	if rest == "" {
		return cell, "", false, ""
	}
	if rest[0] != r.delimiter {
		return "", "", false, "text follows the closing quote of a cell"
	}
	return cell, rest[1:], true, ""
}

// delimiterOf is what occurs most in record outside quotes, or 0. Of two equally
// frequent the one is taken that is rarer in prose.
func delimiterOf(record string) byte {
	var counts [3]int
	inside := false
	for n := range len(record) {
		switch c := record[n]; c {
		case '"':
			inside = !inside
		case '\t', ';', ',':
			if !inside {
				counts[strings.IndexByte(delimiters, c)]++
			}
		}
	}
	best := 0
	for n, count := range counts {
		if count > counts[best] {
			best = n
		}
	}
	if counts[best] == 0 {
		return 0
	}
	return delimiters[best]
}

const delimiters = "\t;,"
