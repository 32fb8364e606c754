// Package withings converts what the Withings API answers to Measure - Getmeas:
// groups of measures that scales, blood pressure monitors, watches and thermometers
// of that maker took, or that their user typed in.
// https://developer.withings.com/api-reference/#operation/measure-getmeas
package withings

import (
	"bytes"
	_ "embed"
	"strings"

	"github.com/kiln-health/kiln/adapters"
)

//go:embed adapter.yaml
var manifestFile []byte

// Adapter converts Withings measures. A row is one element of measures. It is safe
// for concurrent use.
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

// detectBytes is how much of a payload Detect looks at.
const detectBytes = 4096

// Detect recognises JSON that has measure groups within its first bytes. An answer
// that only tells of a failure is not recognised: other APIs write it alike.
func (a *Adapter) Detect(p adapters.Payload) bool {
	if p.MediaType != "" && !strings.Contains(strings.ToLower(p.MediaType), "json") {
		return false
	}
	head := bytes.TrimLeft(p.Body[:min(len(p.Body), detectBytes)], " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("{")):
		return bytes.Contains(head, []byte(`"measuregrps"`))
	case bytes.HasPrefix(head, []byte("[")):
		return bytes.Contains(head, []byte(`"grpid"`)) && bytes.Contains(head, []byte(`"attrib"`)) && bytes.Contains(head, []byte(`"measures"`))
	default:
		return false
	}
}

// Convert maps an answer, its body alone, or an array of measure groups. An answer
// with a status other than 0 is an error, whatever the HTTP status was; so is another
// document of the Withings API.
func (a *Adapter) Convert(p adapters.Payload) (adapters.Conversion, error) {
	doc, err := parse(p.Body)
	if err != nil {
		return adapters.Conversion{}, err
	}
	c := newConverter(p, doc)
	fates := judgeRepeats(doc.groups)
	for i := range doc.groups {
		c.group(&doc.groups[i], fates[i])
	}
	return c.out, nil
}
