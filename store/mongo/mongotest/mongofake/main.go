// Command mongofake is a MongoDB for trying things out, in memory, as package mongotest has it.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

func main() {
	address := flag.String("address", "127.0.0.1:27017", "where to listen")
	standalone := flag.Bool("standalone", false, "a server without replication")
	discard := flag.Bool("discard", false, "acknowledge writes and forget them")
	flag.Parse()
	s, err := mongotest.New(mongotest.Options{Address: *address, Standalone: *standalone, Discard: *discard})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.URI())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	_ = s.Close()
}
