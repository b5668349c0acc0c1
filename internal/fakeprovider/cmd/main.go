// Command fakeprovider serves a fake LLM provider on loopback, for tests that
// are not written in Go. It listens on its argument, else on a free port, and prints its
// address on the first line.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caddy-frontier/frontier/internal/fakeprovider"
)

func main() {
	address := "127.0.0.1:0"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("http://" + l.Addr().String())
	s := &http.Server{Handler: new(fakeprovider.Provider), ReadHeaderTimeout: 10 * time.Second}
	if err := s.Serve(l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
