package ucum

import (
	"strconv"
	"strings"
)

// Name writes the unit out for people, in the form of the official tests of UCUM: kg/m2 is
// (kilogram) / (meter ^ 2). Annotations are kept, parentheses of the code are not: mg/(kg.h)
// is (milligram) / (kilogram) / (hour). The zero value is (unity).
func (u Unit) Name() string {
	if u.code == "" {
		return "(unity)"
	}
	var b strings.Builder
	r := loaded().read(u.code) // which was without a fault before
	for r.next() {
		switch {
		case b.Len() == 0 && r.term.inverse:
			b.WriteString("1 / ")
		case r.term.inverse:
			b.WriteString(" / ")
		case b.Len() > 0:
			b.WriteString(" * ")
		}
		r.term.name(&b)
	}
	return b.String()
}

func (f *term) name(b *strings.Builder) {
	switch {
	case f.atom != nil:
		b.WriteByte('(')
		if f.prefix != nil {
			b.WriteString(f.prefix.name)
		}
		b.WriteString(f.atom.names[0])
		if f.exponent != 1 {
			b.WriteString(" ^ ")
			b.WriteString(strconv.Itoa(f.exponent))
		}
		b.WriteByte(')')
	case f.number != "":
		b.WriteString(f.number)
	default:
		b.WriteString("{" + f.annotation + "}")
		return
	}
	if f.annotation != "" {
		b.WriteString(" {" + f.annotation + "}")
	}
}
