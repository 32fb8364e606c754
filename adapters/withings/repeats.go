package withings

import (
	"cmp"
	"slices"
)

// fate is what becomes of a group because of others with the same id.
type fate uint8

const (
	kept       fate = iota // the only one, or the one to use
	newest                 // the one to use; others differ from it
	repeated               // says what the kept one says
	superseded             // older than the kept one, and different
	contested              // as new as another one, and different: nobody knows which is right
)

// judgeRepeats decides, for groups that carry the same id, which one is used: the
// newest by modified. The API gives a group again when it was changed, and at times
// twice under another attribution.
func judgeRepeats(groups []group) []fate {
	fates := make([]fate, len(groups))
	first := make(map[int64]int, len(groups))
	var repeats map[int64][]int
	for i := range groups {
		id := groups[i].id
		if id.state != given {
			continue
		}
		before, again := first[id.n]
		if !again {
			first[id.n] = i
			continue
		}
		if repeats == nil {
			repeats = map[int64][]int{}
		}
		if repeats[id.n] == nil {
			repeats[id.n] = []int{before}
		}
		repeats[id.n] = append(repeats[id.n], i)
	}
	for _, same := range repeats {
		judge(groups, same, fates)
	}
	return fates
}

// judge decides for the groups with the indices same.
func judge(groups []group, same []int, fates []fate) {
	best := same[0]
	for _, i := range same[1:] {
		if groups[i].modified.n > groups[best].modified.n {
			best = i
		}
	}
	content := fingerprint(&groups[best])
	for _, i := range same {
		if i == best {
			continue
		}
		switch {
		case groups[i].key() == groups[best].key() && slices.Equal(content, fingerprint(&groups[i])):
			fates[i] = repeated
		case groups[i].modified.n < groups[best].modified.n:
			fates[i] = superseded
			if fates[best] == kept {
				fates[best] = newest
			}
		default:
			fates[i], fates[best] = contested, contested
		}
	}
	if fates[best] != contested {
		return
	}
	for _, i := range same {
		if fates[i] == repeated {
			fates[i] = contested
		}
	}
}

// mark is one fact of a group.
type mark struct{ a, b, c, d int64 }

// fingerprint is what a group says, whatever the order of its measures and the way
// its numbers are written. Attributions that mean the same count as one.
func fingerprint(g *group) []mark {
	attrib := g.attrib.n
	if attrib == attribDeviceToo {
		attrib = attribDevice
	}
	marks := make([]mark, 0, 1+len(g.measures))
	for _, m := range g.measures {
		n, exponent := shortest(m.value.n, int(m.unit.n))
		position := int64(-1)
		if m.position.state != absent {
			position = m.position.n
		}
		marks = append(marks, mark{m.kind.n, position, n, int64(exponent)})
	}
	slices.SortFunc(marks, func(x, y mark) int {
		return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b), cmp.Compare(x.c, y.c), cmp.Compare(x.d, y.d))
	})
	return append(slices.Compact(marks), mark{attrib, g.category.n, g.date.n, int64(g.attrib.state)})
}
