// Package gatt converts values of Bluetooth health characteristics, as phones and hubs
// forward them: JSON envelopes, a text of one value per line, or the bytes of one value.
// The README in this folder describes the forms and what becomes of each field.
package gatt

import (
	_ "embed"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/fhir"
)

//go:embed adapter.yaml
var manifestFile []byte

// Adapter converts characteristic values. It is safe for concurrent use.
type Adapter struct{ manifest adapters.Manifest }

var (
	_ adapters.Adapter  = (*Adapter)(nil)
	_ adapters.Detector = (*Adapter)(nil)
)

// New is the adapter.
func New() *Adapter {
	m, err := adapters.ParseManifest(manifestFile)
	if err != nil {
		m = adapters.Manifest{} // a registry refuses it by its missing name
	}
	return &Adapter{manifest: m}
}

// Manifest tells what the adapter is.
func (a *Adapter) Manifest() adapters.Manifest { return a.manifest }

// Convert maps a payload in any of the three forms. A payload that is in none of them,
// or of which no value can be read, is an error. Otherwise a value that cannot be read
// is skipped, and the others are mapped.
func (a *Adapter) Convert(p adapters.Payload) (adapters.Conversion, error) {
	entries, err := read(p)
	if err != nil {
		return adapters.Conversion{}, err
	}
	c := newConverter(p)
	for i := range entries {
		c.decode(&entries[i])
	}
	if len(c.unreadable) == len(c.rows) {
		return adapters.Conversion{}, &fhir.Error{Issues: c.unreadable}
	}
	c.join()
	for _, r := range c.rows {
		c.convert(r)
	}
	for _, r := range c.rows {
		c.account(r)
	}
	return c.out, nil
}
