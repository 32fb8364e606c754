// Command kiln converts the payloads of medical devices into FHIR, keeps them, and serves them.
package main

import (
	"os"

	"github.com/kiln-health/kiln/adapters/all"
	"github.com/kiln-health/kiln/cmd"
)

func main() { os.Exit(cmd.Main(all.Adapters()...)) }
