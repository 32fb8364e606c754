// Package all is the list of adapters that kiln ships. A program with adapters of its
// own calls cmd.Main with this list and theirs.
package all

import (
	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/dexcomclarity"
	"github.com/kiln-health/kiln/adapters/gatt"
	"github.com/kiln-health/kiln/adapters/ihepcd"
	"github.com/kiln-health/kiln/adapters/withings"
)

// Adapters are all adapters of this repository, in no particular order.
func Adapters() []adapters.Adapter {
	return []adapters.Adapter{
		dexcomclarity.New(),
		gatt.New(),
		ihepcd.New(),
		withings.New(),
	}
}
