package patch

import (
	"github.com/kiln-health/kiln/fhir"
)

// written is an element as JSON has it: a name, what is under it, and what is under the name
// with _ before it, which only a primitive has. One of both may be nil.
type written struct {
	name         string
	value, aside *node
}

func newArray() *node  { return &node{raw: []byte("[]"), size: 2, kind: '[', opened: true} }
func newObject() *node { return &node{raw: []byte("{}"), size: 2, kind: '{', opened: true} }
func null() *node      { return newNode([]byte("null")) }

// room says whether w fits into an object, or into a list in it.
func (d *document) room(object *node, list bool, w written) error {
	level := object.level()
	if list {
		level++
	}
	for _, v := range []*node{w.value, w.aside} {
		if v == nil {
			continue
		}
		// How long the result is, is checked after each operation.
		if err := d.fits(level, v, v.size); err != nil {
			return err
		}
	}
	return nil
}

// put writes w where e is.
func (d *document) put(e *element, w written) error {
	if err := d.room(e.parent, e.index >= 0, w); err != nil {
		return err
	}
	if e.index < 0 {
		place := len(e.parent.kids)
		for _, name := range []string{e.name, "_" + e.name} {
			if i := e.parent.find(name); i >= 0 {
				place = min(place, i)
				e.parent.remove(i)
			}
		}
		addMembers(e.parent, place, w)
		return nil
	}
	count, err := e.count()
	if err != nil {
		return err
	}
	putItem(e.parent, e.name, e.index, count, w.value)
	putItem(e.parent, "_"+e.name, e.index, count, w.aside)
	return nil
}

func addMembers(object *node, place int, w written) {
	if w.value != nil {
		object.insert(place, quote(w.name), w.value)
		place++
	}
	if w.aside != nil {
		object.insert(place, quote("_"+w.name), w.aside)
	}
}

// putItem writes an item of a list of so many elements, or null for it.
func putItem(object *node, name string, i, count int, v *node) {
	list := padded(object, name, count, v != nil)
	if list == nil {
		return
	}
	if v == nil {
		v = null()
	}
	list.replace(i, v)
	tidy(object, name)
}

// insertItem puts an item, or null, into a list of so many elements.
func insertItem(object *node, name string, i, count int, v *node) {
	list := padded(object, name, count, v != nil)
	if list == nil {
		return
	}
	if v == nil {
		v = null()
	}
	list.insert(i, nil, v)
}

// padded is an array of an object with at least count items. It makes one if it must.
func padded(object *node, name string, count int, must bool) *node {
	list := object.member(name)
	if list == nil {
		if !must {
			return nil
		}
		list = newArray()
		object.insert(len(object.kids), quote(name), list)
	}
	for len(list.kids) < count {
		list.insert(len(list.kids), nil, null())
	}
	return list
}

// tidy removes an array that says nothing.
func tidy(object *node, name string) {
	i := object.find(name)
	if i < 0 {
		return
	}
	for _, k := range object.kids[i].kids {
		if k.kind != 'n' {
			return
		}
	}
	object.remove(i)
}

// drop removes e, and what has nothing left in it without e: FHIR has no empty elements.
func drop(e *element) error {
	for _, name := range []string{e.name, "_" + e.name} {
		i := e.parent.find(name)
		if i < 0 {
			continue
		}
		if e.index < 0 {
			e.parent.remove(i)
			continue
		}
		if list := e.parent.kids[i]; e.index < len(list.kids) {
			list.remove(e.index)
		}
		tidy(e.parent, name)
	}
	return prune(e.in)
}

// prune removes e if it is empty.
func prune(e *element) error {
	if e.in == nil {
		return nil
	}
	object, err := e.holder()
	if err != nil || object == nil || len(object.kids) > 0 {
		return err
	}
	if !e.primitive || e.value() == nil {
		return drop(e)
	}
	name := "_" + e.name
	if e.index < 0 {
		e.parent.remove(e.parent.find(name))
		return nil
	}
	count, err := e.count()
	if err != nil {
		return err
	}
	putItem(e.parent, name, e.index, count, nil)
	return nil
}

// within is the object with the elements in e. It makes one for a primitive that has none.
func within(e *element) (*node, error) {
	object, err := e.holder()
	if err != nil || object != nil {
		return object, err
	}
	if !e.primitive {
		return nil, misshapen(e.typ)
	}
	object = newObject()
	if e.index < 0 {
		e.parent.insert(len(e.parent.kids), quote("_"+e.name), object)
		return object, nil
	}
	count, err := e.count()
	if err != nil {
		return nil, err
	}
	putItem(e.parent, "_"+e.name, e.index, count, object)
	return object, nil
}

// list is all elements in e that c defines, as one, and their number.
func (e *element) list(object *node, name string) (*element, int, error) {
	c := e.child(name)
	all := &element{in: e, parent: object, definition: c, name: name, index: -1, typ: typeOf(c, name)}
	count, err := all.count()
	return all, count, err
}

// change applies an operation.
func (d *document) change(o *instruction, budget *int) error {
	s := selector{budget}
	var err error
	switch o.kind {
	case "add":
		err = d.addElement(o, s)
	case "delete":
		err = d.deleteElement(o, s)
	case "replace":
		err = d.replaceElement(o, s)
	default:
		err = d.rearrange(o, s)
	}
	if err == nil && d.root.size > MaxBytes { // nulls that fill a list up count too
		err = fhir.Errorf(fhir.CodeTooLong, "", "the patched resource is longer than %d bytes", MaxBytes)
	}
	return err
}

// one is the only element that a path selects.
func (d *document) one(x *expr, s selector) (*element, error) {
	found, err := s.elements(x, d.element())
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault(x.at, fhir.CodeNotFound, "the path selects nothing in this resource").
			WithFix("read the resource and correct the path; what is missing must be added first, to the element that it belongs to")
	}
	if len(found) > 1 {
		return nil, several(x, len(found))
	}
	return found[0], nil
}

func several(x *expr, count int) error {
	return fault(x.at, CodeMultiple, "the path selects %d elements, and must select one", count).
		WithFix("add [index] or where(...) to it")
}

func (d *document) addElement(o *instruction, s selector) error {
	e, err := d.one(o.path, s)
	if err != nil {
		return err
	}
	c := e.child(o.name)
	if c == nil {
		return unknown(o.path, o.name, e)
	}
	w, err := build(o.value, c)
	if err != nil {
		return err
	}
	object, err := within(e)
	if err != nil {
		return err
	}
	if err := d.room(object, c.List, w); err != nil {
		return err
	}
	if !c.List {
		if len(namesOf(object, c)) > 0 {
			return fhir.Errorf(fhir.CodeDuplicate, "", "the element is there already, and cannot be twice").
				WithFix("replace it instead")
		}
		addMembers(object, len(object.kids), w)
		return nil
	}
	all, count, err := e.list(object, c.Name)
	if err != nil {
		return err
	}
	insertItem(object, all.name, count, count, w.value)
	insertItem(object, "_"+all.name, count, count, w.aside)
	return nil
}

func (d *document) deleteElement(o *instruction, s selector) error {
	found, err := s.elements(o.path, d.element())
	switch {
	case err != nil || len(found) == 0:
		return err
	case len(found) > 1:
		return several(o.path, len(found))
	case found[0].in == nil:
		return fhir.Errorf(fhir.CodeBusinessRule, "", "the patch deletes the whole resource").WithFix("delete the resource instead")
	}
	return drop(found[0])
}

func (d *document) replaceElement(o *instruction, s selector) error {
	e, err := d.one(o.path, s)
	if err != nil {
		return err
	}
	if e.in == nil {
		return fhir.Errorf(fhir.CodeBusinessRule, "", "the patch replaces the whole resource").WithFix("send it with an update instead")
	}
	w, err := build(o.value, e.definition)
	if err != nil {
		return err
	}
	return d.put(e, w)
}

// rearrange inserts into a list or moves an item of one.
func (d *document) rearrange(o *instruction, s selector) error {
	if o.path.kind != exprName {
		return fault(o.path.at, fhir.CodeInvalid, "the path does not end with the name of a list").
			WithFix("name the list itself, as in Patient.identifier")
	}
	e := d.element()
	if o.path.left != nil {
		var err error
		if e, err = d.one(o.path.left, s); err != nil {
			return err
		}
	}
	c := e.child(o.path.name)
	if c == nil {
		return unknown(o.path, o.path.name, e)
	}
	if !c.List {
		return fault(o.path.at, fhir.CodeInvalid, "the element is no list").WithFix("add, replace or delete it instead")
	}
	object, err := e.holder()
	if err != nil {
		return err
	}
	count := 0
	if object != nil {
		if _, count, err = e.list(object, c.Name); err != nil {
			return err
		}
	}
	if count == 0 {
		return fault(o.path.at, fhir.CodeNotFound, "the list has no items in this resource").WithFix("add the first one")
	}
	names := []string{c.Name, "_" + c.Name}
	if o.kind == "move" {
		if o.source >= count || o.destination >= count {
			return fhir.Errorf(fhir.CodeNotFound, "", "the source or the destination is not in the list, which has %d items", count).
				WithFix("the first item has the index 0")
		}
		for _, name := range names {
			if list := padded(object, name, count, false); list != nil {
				list.insert(o.destination, nil, list.remove(o.source))
			}
		}
		return nil
	}
	if o.index > count {
		return fhir.Errorf(fhir.CodeNotFound, "", "the index is beyond the end of the list, which has %d items", count).
			WithFix("the first item has the index 0; add puts one at the end")
	}
	w, err := build(o.value, c)
	if err != nil {
		return err
	}
	if err := d.room(object, true, w); err != nil {
		return err
	}
	insertItem(object, names[0], o.index, count, w.value)
	insertItem(object, names[1], o.index, count, w.aside)
	return nil
}
