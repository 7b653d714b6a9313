package cache

import (
	_ "embed"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed fill.lua
	fillSource string
	//go:embed free.lua
	freeSource string
	//go:embed set.lua
	setSource string
	//go:embed hold.lua
	holdSource string
	//go:embed expire.lua
	expireSource string
	//go:embed generation.lua
	generationSource string

	fillScript   = script.New(fillSource)
	freeScript   = script.New(freeSource)
	setScript    = script.New(setSource)
	holdScript   = script.New(holdSource)
	expireScript = script.New(expireSource)
	// generationScript creates what is missing, and a second run finds it. So a call whose reply is
	// lost runs again, as a read.
	generationScript = script.ReadOnly(generationSource)
)

// millis formats a duration in ms, at least 1, for scripts.
func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
