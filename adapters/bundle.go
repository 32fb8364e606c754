package adapters

import (
	"fmt"
	"net/url"

	"google.golang.org/protobuf/proto"

	"github.com/kiln-health/kiln/fhir"
)

// Resources are the conversion as resources in the order in which they can be
// written: patients, devices, observations. They have no version yet.
func (c *Conversion) Resources() ([]fhir.Resource, error) {
	out := make([]fhir.Resource, 0, len(c.Patients)+len(c.Devices)+len(c.Observations))
	add := func(resourceType, id string, m proto.Message) error {
		body, err := fhir.Encode(m)
		if err != nil {
			return fmt.Errorf("adapters: %s: %w", resourceType, err)
		}
		out = append(out, fhir.Resource{Key: fhir.Key{Type: resourceType, ID: id}, JSON: body})
		return nil
	}
	for _, p := range c.Patients {
		if err := add("Patient", fhir.PatientID(p), fhir.Patient(p)); err != nil {
			return nil, err
		}
	}
	for _, d := range c.Devices {
		if err := add("Device", d.GetId().GetValue(), d); err != nil {
			return nil, err
		}
	}
	for _, o := range c.Observations {
		if err := add("Observation", o.GetId().GetValue(), o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Bundle is the conversion as a FHIR transaction that any server can take, any number
// of times: devices and observations are put under their ids, a patient is created
// unless there is one with the identifier.
// http://hl7.org/fhir/R4/http.html#transaction
func (c *Conversion) Bundle() ([]byte, error) {
	resources, err := c.Resources()
	if err != nil {
		return nil, err
	}
	b := []byte(`{"resourceType":"Bundle","type":"transaction"`)
	for n, r := range resources {
		if n == 0 {
			b = append(b, `,"entry":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(b, `{"fullUrl":"`...)
		request := `"method":"PUT","url":"` + r.Key.String() + `"`
		if r.Type == "Patient" {
			p := c.Patients[n]
			request = `"method":"POST","url":"Patient","ifNoneExist":"identifier=` + url.QueryEscape(p.System+"|"+p.Value) + `"`
		}
		// A reference Patient/x resolves inside the bundle against a fullUrl that ends in it.
		b = append(b, fullURL+r.Key.String()...)
		b = append(b, `","resource":`...)
		b = append(b, r.JSON...)
		b = append(b, `,"request":{`...)
		b = append(b, request...)
		b = append(b, "}}"...)
	}
	if len(resources) > 0 {
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

// fullURL makes relative references inside a bundle resolvable; nothing is served there.
// http://hl7.org/fhir/R4/bundle.html#references
const fullURL = "http://kiln.invalid/fhir/"
