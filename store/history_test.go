package store

import (
	"cmp"
	"errors"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

func FuzzPlace(f *testing.F) {
	f.Add("1767348000000_Device_a-.1_3")
	f.Add("-5_Device_a_1")
	f.Add("05_Device_a_1_")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := ParsePlace(text); ok && p.String() != text {
			t.Errorf("%q is read as %q", text, p)
		}
	})
}

func TestPlacesAreInTheOrderOfTimeTypeIDAndVersion(t *testing.T) {
	places := []Place{
		{5, "Device", "b", 1}, {4, "Device", "a", 2}, {4, "Device", "a", 1}, {4, "Device", "a-", 1}, {4, "Device", "b", 7}, {4, "Patient", "a", 9}, {-3, "Device", "a", 1},
	}
	for i, a := range places {
		for j, b := range places {
			if got := a.Compare(b); cmp.Compare(got, 0) != cmp.Compare(i, j) {
				t.Errorf("%v and %v: got %d", a, b, got)
			}
		}
		r := fhir.Resource{Key: fhir.Key{Type: a.Type, ID: a.ID, Version: "3"}, LastUpdated: time.UnixMilli(a.LastUpdated)}
		a.Version = 3
		if p, ok := ParsePlace(PlaceOf(&r).String()); !ok || p != a {
			t.Errorf("got %v, %t, want %v", p, ok, a)
		}
	}
}

func TestAHistoryGoesOnWhereItsPageEnded(t *testing.T) {
	for before, want := range map[string]int64{"": 8, "7": 7, "1": 1, "8": 0, "0": 0, "07": 0, "4_Device_a_1": 0} {
		n, err := HistoryQuery{Type: "Device", ID: "a", Before: before}.BeforeVersion(7)
		if n != want || errors.Is(err, ErrNoPlace) != (want == 0) {
			t.Errorf("a resource, %q: got %d, %v", before, n, err)
		}
	}
	for _, test := range []struct {
		of, before string
		want       bool
	}{
		{"", "4_Device_a_1", true}, {"Device", "4_Device_a_1", true}, {"Device", "-4_Device_a_1", true},
		{"Patient", "4_Device_a_1", false}, {"", "4", false}, {"", "4_device_a_1", false}, {"", "4_Device_a b_1", false},
		{"", "4_Device_a_0", false}, {"", "04_Device_a_1", false}, {"", "4_Device_a_1_", false}, {"", "x_Device_a_1", false},
	} {
		p, err := HistoryQuery{Type: test.of, Before: test.before}.BeforePlace()
		if test.want && (err != nil || p.String() != test.before) || !test.want && (!errors.Is(err, ErrNoPlace) || !errors.Is(err, ErrNotFound)) {
			t.Errorf("%q, %q: got %v, %v", test.of, test.before, p, err)
		}
	}
	if p, err := (HistoryQuery{}).BeforePlace(); p != nil || err != nil {
		t.Errorf("the first page: got %v, %v", p, err)
	}
}

func TestThereIsNoHistoryOfWhatCannotBe(t *testing.T) {
	for _, test := range []struct {
		q    HistoryQuery
		want error
	}{
		{HistoryQuery{}, nil}, {HistoryQuery{Type: "Device"}, nil}, {HistoryQuery{Type: "Device", ID: "a"}, nil},
		{HistoryQuery{Type: "device"}, ErrNotFound}, {HistoryQuery{Type: "Device", ID: "a b"}, ErrNotFound}, {HistoryQuery{ID: "a"}, ErrNotFound},
	} {
		if err := test.q.Check(); err != test.want {
			t.Errorf("%+v: got %v", test.q, err)
		}
	}
}

func TestAPageOfAHistoryIsFull(t *testing.T) {
	r := fhir.Resource{Key: fhir.Key{Type: "Device", ID: "a", Version: "3"}, LastUpdated: time.UnixMilli(4), JSON: []byte("0123456789")}
	for _, test := range []struct{ count, bytes, want int }{
		{3, 100, 3}, {3, 30, 3}, {3, 29, 2}, {3, 1, 1}, {0, 1 << 20, search.DefaultCount}, {MaxHistory + 1, 1 << 20, MaxHistory},
	} {
		h := NewHistoryPage(HistoryQuery{Count: test.count}, test.bytes)
		n := 0
		for h.Add(r) {
			n++
		}
		if n != test.want || len(h.OfMany().Resources) != n {
			t.Errorf("%d of %d bytes: got %d versions, want %d", test.count, test.bytes, n, test.want)
		}
		if page := h.OfMany(); page.Total != -1 || page.Next == nil || page.Next.ID != "4_Device_a_3" {
			t.Errorf("of many: got %d, %+v", page.Total, page.Next)
		}
		if page := h.OfResource(7); page.Total != 7 || page.Next == nil || page.Next.ID != "3" {
			t.Errorf("of a resource: got %d, %+v", page.Total, page.Next)
		}
	}
	h := NewHistoryPage(HistoryQuery{Count: 1}, 1)
	if page := h.OfMany(); page.Next != nil || len(page.Resources) != 0 {
		t.Errorf("an empty page: got %+v", page)
	}
	if h.Add(r); h.OfMany().Next != nil {
		t.Error("a page goes on that nothing follows")
	}
}
