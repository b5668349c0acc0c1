// Command caddy is Caddy with its standard modules and Frontier, as the
// integration tests run it.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-frontier/frontier"
)

func main() { caddycmd.Main() }
