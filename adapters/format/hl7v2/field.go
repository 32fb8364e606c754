package hl7v2

import (
	"encoding/hex"
	"iter"
	"strconv"
	"strings"
)

// Field is one field: repetitions of a value.
type Field struct {
	text string
	form *form
}

// Repetition is one value of a field: components.
type Repetition struct {
	text string
	form *form
}

// Component is one part of a value: subcomponents.
type Component struct {
	text string
	form *form
}

// null is how a sender says that a value is to be deleted, other than by leaving it
// out. Values read as empty where it stands; IsNull tells the difference.
const null = `""`

// Raw is the field as it was written.
func (f Field) Raw() string { return f.text }

// IsEmpty reports that nothing is stated: the field is absent, blank or null.
func (f Field) IsEmpty() bool { return isEmpty(f.text) }

// IsNull reports that the field is the explicit null, two double quotes.
func (f Field) IsNull() bool { return f.text == null }

// Text is the whole field with its escapes resolved and its delimiters left in place:
// the value of a text in which the sender did not escape them.
func (f Field) Text() string { return textOf(f.text, f.form) }

// Value is the first subcomponent of the first component of the first repetition:
// the value of a field of a simple type.
func (f Field) Value() string { return f.Rep(1).Component(1).Value() }

// Reps is the number of repetitions. An empty field has none.
func (f Field) Reps() int {
	if f.text == "" {
		return 0
	}
	return countParts(f.text, f.form, repetitions)
}

// Rep is repetition i.
func (f Field) Rep(i int) Repetition {
	return Repetition{part(f.text, f.form, repetitions, i), f.form}
}

// All are the repetitions with their numbers.
func (f Field) All() iter.Seq2[int, Repetition] {
	return func(yield func(int, Repetition) bool) {
		for n, text := range parts(f.text, f.form, repetitions) {
			if !yield(n, Repetition{text, f.form}) {
				return
			}
		}
	}
}

// Component is component j of the first repetition.
func (f Field) Component(j int) Component { return f.Rep(1).Component(j) }

// Raw is the repetition as it was written.
func (r Repetition) Raw() string { return r.text }

// IsEmpty reports that nothing is stated: the repetition is absent, blank or null.
func (r Repetition) IsEmpty() bool { return isEmpty(r.text) }

// Text is the whole repetition with its escapes resolved and its delimiters left.
func (r Repetition) Text() string { return textOf(r.text, r.form) }

// Components is the number of components. An empty repetition has none.
func (r Repetition) Components() int {
	if r.text == "" {
		return 0
	}
	return countParts(r.text, r.form, components)
}

// Component is component j.
func (r Repetition) Component(j int) Component {
	return Component{part(r.text, r.form, components, j), r.form}
}

// All are the components with their numbers.
func (r Repetition) All() iter.Seq2[int, Component] {
	return func(yield func(int, Component) bool) {
		for n, text := range parts(r.text, r.form, components) {
			if !yield(n, Component{text, r.form}) {
				return
			}
		}
	}
}

// Raw is the component as it was written.
func (c Component) Raw() string { return c.text }

// IsEmpty reports that nothing is stated: the component is absent, blank or null.
func (c Component) IsEmpty() bool { return isEmpty(c.text) }

// Text is the whole component with its escapes resolved and its delimiters left.
func (c Component) Text() string { return textOf(c.text, c.form) }

// Value is the first subcomponent: the value of a component of a simple type.
func (c Component) Value() string { return c.Sub(1) }

// Sub is subcomponent k.
func (c Component) Sub(k int) string {
	return textOf(part(c.text, c.form, subcomponents, k), c.form)
}

func isEmpty(text string) bool {
	return text == "" || text == null || strings.Trim(text, " ") == ""
}

func textOf(text string, f *form) string {
	if text == null {
		return ""
	}
	if f == nil || f.escape == 0 || strings.IndexByte(text, f.escape) < 0 {
		return text
	}
	return f.unescape(text)
}

// level says what a text is divided into.
type level int

const (
	repetitions level = iota
	components
	subcomponents
)

// separator is the byte between parts, or 0 where the message declares none.
func (f *form) separator(l level) byte {
	if f == nil {
		return 0
	}
	switch l {
	case repetitions:
		return f.repetition
	case components:
		return f.component
	default:
		return f.sub
	}
}

func part(text string, f *form, l level, n int) string {
	separator := f.separator(l)
	if n < 1 || separator == 0 && n > 1 {
		return ""
	}
	for separator != 0 {
		i := strings.IndexByte(text, separator)
		switch {
		case i < 0 && n == 1:
			return text
		case i < 0:
			return ""
		case n == 1:
			return text[:i]
		}
		text = text[i+1:]
		n--
	}
	return text
}

func countParts(text string, f *form, l level) int {
	separator := f.separator(l)
	if separator == 0 {
		return 1
	}
	n := 1
	for i := strings.IndexByte(text, separator); i >= 0; i = strings.IndexByte(text, separator) {
		text = text[i+1:]
		n++
	}
	return n
}

func parts(text string, f *form, l level) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		if text == "" {
			return
		}
		separator, rest := f.separator(l), text
		for n := 1; ; n++ {
			i := -1
			if separator != 0 {
				i = strings.IndexByte(rest, separator)
			}
			if i < 0 {
				yield(n, rest)
				return
			}
			if !yield(n, rest[:i]) {
				return
			}
			rest = rest[i+1:]
		}
	}
}

// maxEscape is how long an escape sequence may be. What is longer is text in which
// the escape character was not escaped.
const maxEscape = 512

// unescape resolves the escape sequences of chapter 2.7. Sequences that have no
// meaning as plain text (character set switches, formatting, a sender's own) are kept
// as they are; only highlighting, which has no text, is dropped.
func (f *form) unescape(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for {
		i := strings.IndexByte(text, f.escape)
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		text = text[i:]
		end := strings.IndexByte(text[1:], f.escape)
		if end < 0 {
			b.WriteString(text)
			return b.String()
		}
		sequence := text[1 : end+1]
		if plain, ok := f.resolve(sequence); ok {
			b.WriteString(plain)
			text = text[end+2:]
			continue
		}
		if sequence == "" || len(sequence) > maxEscape || strings.ContainsAny(sequence, " \t") {
			// No escape sequence: a lone escape character that nobody escaped. What ends
			// here may begin a sequence.
			b.WriteString(text[:end+1])
			text = text[end+1:]
			continue
		}
		b.WriteString(text[:end+2])
		text = text[end+2:]
	}
}

func (f *form) resolve(sequence string) (string, bool) {
	switch sequence {
	case "F":
		return string(rune(f.field)), true
	case "S":
		return string(rune(f.component)), true
	case "R":
		return string(rune(f.repetition)), true
	case "E":
		return string(rune(f.escape)), true
	case "T":
		if f.sub != 0 {
			return string(rune(f.sub)), true
		}
	case "P":
		if f.truncation != 0 {
			return string(rune(f.truncation)), true
		}
	case "H", "N":
		return "", true
	case ".br", ".sp":
		return "\n", true
	}
	if count, ok := strings.CutPrefix(sequence, ".sp"); ok {
		if n, err := strconv.ParseUint(strings.TrimPrefix(count, "+"), 10, 8); err == nil && n > 0 && n <= 20 {
			return strings.Repeat("\n", int(n)), true
		}
		return "", false
	}
	if digits, ok := strings.CutPrefix(sequence, "X"); ok && digits != "" && len(digits) <= maxEscape {
		raw, err := hex.DecodeString(digits)
		if err != nil {
			return "", false
		}
		return f.charset.decodeBytes(raw)
	}
	return "", false
}
