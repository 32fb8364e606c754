package validate

import (
	"bytes"

	"github.com/kiln-health/kiln/fhir"
)

// A node is the note that is taken of a value. The nodes of what is in it follow it.
type node struct {
	start uint32 // where it begins in the body
	next  uint32 // the node that follows what is in it
	slot  uint32 // what it is, and flags
}

const (
	companion  = 1 << 31 // it is the id and the extensions of a primitive: _status
	null       = 1 << 30
	unfit      = 1 << 29 // it is not what belongs here; what is in it has no nodes
	linked     = 1 << 28 // a text: it is a reference to look up; a contained resource: it is not there for nothing
	inSlice    = 1 << 27 // it is in a slice of the expectation that is being checked
	classShift = 19      // of the number of the type of a resource, plus one
	classBits  = 0xff
	slotBits   = 1<<classShift - 1
)

// tolerated is how many errors may be found until no more notes are taken, so that they
// take no more memory than the notes of something useful.
const tolerated = 1000

// Notes are many times longer than the shortest values. So that they take no more than 1.5
// times the memory of the body, there is one for every bytesPerNote bytes at most. What a
// resource has a use for is longer, but for some arrays of numbers and short codes: that
// many notes, fewNotes, there may always be.
const (
	bytesPerNote = 8
	fewNotes     = 1 << 15
)

// rootSlot is the slot of the body itself, which is in none.
const rootSlot = slotBits

// numbered is the part of a slot that says which resource type it is.
func (c *class) numbered() uint32 { return uint32(c.number+1) << classShift }

// note takes a note of the value that begins at start. It is -1 if no more notes are taken.
func (w *walker) note(slot uint32, start int) int {
	if w.blind || w.errors > tolerated {
		w.blind = true
		return -1
	}
	n := len(w.nodes)
	if n >= w.memory && !w.widen(start) {
		return -1
	}
	w.nodes = append(w.nodes, node{uint32(start), uint32(n + 1), slot})
	return n
}

// widen makes room for all notes that the body can need, and does so once. It reports false,
// and stops taking notes, if these would be too many.
func (w *walker) widen(start int) bool {
	if len(w.nodes) >= w.most {
		w.blind = true
		if w.refused() {
			w.errorAt(fhir.CodeTooCostly, "", start, "there are more than "+number(w.most)+" values in a body of that length, so what follows was not checked", "send it in parts")
		}
		return false
	}
	enough := len(w.body)/2 + 2 // values of one byte, and what separates them
	if enough > 4096 {
		// Every value but the outermost follows a comma or the beginning of what it is in.
		enough = 1 + bytes.Count(w.body, []byte{','}) + bytes.Count(w.body, []byte{'{'}) + bytes.Count(w.body, []byte{'['})
	}
	enough = min(enough, w.most)
	w.nodes = append(make([]node, 0, max(enough, len(w.nodes)+1)), w.nodes...)
	w.memory = min(w.most, cap(w.nodes))
	return true
}

// first is the first node of a member of the object at node n, with the companion flag or without it; -1 if there is none.
func (w *walker) first(n int, m *member, flag uint32) int {
	return w.from(n+1, int(w.nodes[n].next), m, flag)
}

// sibling is the next one after node k.
func (w *walker) sibling(n, k int, m *member, flag uint32) int {
	return w.from(int(w.nodes[k].next), int(w.nodes[n].next), m, flag)
}

func (w *walker) from(i, end int, m *member, flag uint32) int {
	for ; i < end; i = int(w.nodes[i].next) {
		s := w.nodes[i].slot
		if of := int32(s & slotBits); of >= m.first && of < m.first+m.count && s&companion == flag {
			return i
		}
	}
	return -1
}

// members are the bits of the members that the object at node n has.
func (w *walker) members(n int) (has uint64) {
	for i := n + 1; i < int(w.nodes[n].next); i = int(w.nodes[i].next) {
		has |= 1 << w.plan.slots[w.nodes[i].slot&slotBits].member
	}
	return has
}

// after is the node that follows node k and what is in it, also while that is not complete.
func (w *walker) after(k int) int {
	if next := int(w.nodes[k].next); next > k {
		return next
	}
	return len(w.nodes)
}

// text is the text of the string at node n, nil if there is none. It is valid until the
// next call of it or of plain.
func (w *walker) text(n int) []byte { return w.textIn(0, n) }

// textIn is text in one of two buffers, for who needs two of them.
func (w *walker) textIn(buffer, n int) []byte {
	if n < 0 || w.nodes[n].slot&(unfit|null) != 0 {
		return nil
	}
	start := int(w.nodes[n].start)
	if w.body[start] != '"' {
		return nil
	}
	return w.unquote(buffer, start, w.endOfString(start))
}

// child is the node of a member of the object at node n, -1 if it is not there. Of an array it is the first item.
func (w *walker) child(n, ordinal int) int {
	if ordinal < 0 {
		return -1
	}
	c := w.classAt(n)
	if c == nil {
		return -1
	}
	return w.first(n, &c.members[ordinal], 0)
}

// classAt is the class of the object at node n.
func (w *walker) classAt(n int) *class {
	s := w.nodes[n].slot
	if number := s >> classShift & classBits; number != 0 {
		return w.plan.types[number-1]
	}
	if s&companion != 0 {
		return w.plan.element
	}
	return w.plan.slots[s&slotBits].class
}
