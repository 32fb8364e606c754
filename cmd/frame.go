package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// frame shows what is wrong, where in a file, and how to mend it:
//
//	what
//	  --> file:line:column  at
//	   |
//	 3 | the line
//	   |     ^
//	  = fix: how
type frame struct {
	What, Fix    string
	File         string
	Line, Column int    // from 1, the column in bytes; 0 if the place is not known
	At           string // the place by name: a key, a FHIRPath
	Text         string // the line, "" if it is not known
}

// widest is how much of a line is shown, in bytes: a resource may be all one line.
const widest = 120

func (f frame) String() string {
	var b strings.Builder
	b.WriteString(f.What)
	if f.File != "" {
		b.WriteString("\n  --> " + f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
		}
		if f.At != "" {
			b.WriteString("  " + f.At)
		}
		if f.Text != "" {
			text, column := cutOut(f.Text, f.Column)
			number := strconv.Itoa(f.Line)
			margin := strings.Repeat(" ", len(number))
			fmt.Fprintf(&b, "\n %s |\n %s | %s\n %s | %s^", margin, number, text, margin, strings.Repeat(" ", column))
		}
	}
	if f.Fix != "" {
		b.WriteString("\n  = fix: " + f.Fix)
	}
	return b.String()
}

// cutOut is the part of a line around a column, and how many characters of it stand before
// that. Tabs become blanks, so that the caret stands below its place.
func cutOut(line string, column int) (text string, before int) {
	at := min(max(0, column-1), len(line))
	from, to := max(0, at-widest/3), min(len(line), at+2*widest/3)
	for from > 0 && !utf8.RuneStart(line[from]) {
		from--
	}
	for to < len(line) && !utf8.RuneStart(line[to]) {
		to++
	}
	head, tail := line[from:at], line[at:to]
	if from > 0 {
		head = "…" + head
	}
	if to < len(line) {
		tail += "…"
	}
	return strings.ReplaceAll(head+tail, "\t", " "), utf8.RuneCountInString(head)
}
