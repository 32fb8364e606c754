package rest

// concept is a CodeableConcept, as far as it tells what is the same.
type concept struct {
	Coding []coded `json:"coding"`
	Text   string  `json:"text"`
}

// coded is a Coding.
type coded struct {
	System  string `json:"system,omitempty"`
	Code    string `json:"code,omitempty"`
	Display string `json:"display,omitempty"`
}

// names are what a concept is known by: its codings or, if it has none with a code, its text.
// Two concepts that have a name in common are the same.
func (c *concept) names() []string {
	var names []string
	for _, coding := range c.Coding {
		if coding.Code != "" {
			names = append(names, "code\x00"+coding.System+"\x00"+coding.Code)
		}
	}
	if names == nil && c.Text != "" {
		names = append(names, "text\x00"+c.Text)
	}
	if names == nil {
		for _, coding := range c.Coding {
			if coding.Display != "" {
				names = append(names, "display\x00"+coding.System+"\x00"+coding.Display)
			}
		}
	}
	return names
}

// classes are sets of names that mean the same, as far as concepts have told. A class is a
// number; when two of them turn out to be one, the number of the other stays valid.
type classes struct {
	of     map[string]int
	parent []int
}

// root is the number that stands for the class now.
func (c *classes) root(class int) int {
	for c.parent[class] != class {
		c.parent[class] = c.parent[c.parent[class]]
		class = c.parent[class]
	}
	return class
}

// join is the class of a concept with those names, and those of which it has made one with it.
// Of a concept without names it is a class of its own.
func (c *classes) join(names []string) (class int, joined []int) {
	if c.of == nil {
		c.of = map[string]int{}
	}
	class = -1
	for _, name := range names {
		n, ok := c.of[name]
		if !ok {
			continue
		}
		n = c.root(n)
		switch {
		case class < 0:
			class = n
		case n != class:
			c.parent[n] = class
			joined = append(joined, n)
		}
	}
	if class < 0 {
		class = len(c.parent)
		c.parent = append(c.parent, class)
	}
	for _, name := range names {
		c.of[name] = class
	}
	return class, joined
}
