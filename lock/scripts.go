package lock

import (
	_ "embed"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed state.lua
	stateLua string
	//go:embed queue.lua
	queueLua string
	//go:embed mutex.lua
	mutexLua string
	//go:embed holders.lua
	holdersLua string
	//go:embed acquire.lua
	acquireLua string
	//go:embed release.lua
	releaseLua string
	//go:embed renew.lua
	renewLua string
	//go:embed take.lua
	takeLua string
	//go:embed give.lua
	giveLua string
	//go:embed all.lua
	allLua string
	//go:embed enter.lua
	enterLua string
	//go:embed exit.lua
	exitLua string
	//go:embed stay.lua
	stayLua string
	//go:embed alive.lua
	aliveLua string
	//go:embed pulse.lua
	pulseLua string
	//go:embed beat.lua
	beatLua string
	//go:embed list.lua
	listLua string
	//go:embed inspect.lua
	inspectLua string
	//go:embed survey.lua
	surveyLua string
	//go:embed fence.lua
	fenceLua string
)

// family is the scripts of one way to hold: a mutex, several mutexes at once, or a share of something.
type family struct {
	acquire, release, renew, inspect, pulse *script.Script
}

var (
	mutex = family{
		acquire: script.New(stateLua + queueLua + mutexLua + acquireLua),
		release: script.New(stateLua + queueLua + mutexLua + releaseLua),
		renew:   script.New(stateLua + renewLua),
		inspect: script.ReadOnly(stateLua + queueLua + mutexLua + listLua + inspectLua),
		pulse:   script.New(stateLua + queueLua + mutexLua + aliveLua + pulseLua),
	}
	several = family{
		acquire: script.New(stateLua + queueLua + mutexLua + allLua),
		release: mutex.release,
		renew:   mutex.renew,
	}
	shared = family{
		acquire: script.New(stateLua + queueLua + holdersLua + enterLua),
		release: script.New(stateLua + queueLua + holdersLua + exitLua),
		renew:   script.New(stateLua + queueLua + holdersLua + stayLua),
		inspect: script.ReadOnly(stateLua + queueLua + holdersLua + listLua + surveyLua),
		pulse:   script.New(stateLua + queueLua + holdersLua + aliveLua + beatLua),
	}
	takeScript  = script.New(stateLua + takeLua)
	giveScript  = script.New(stateLua + giveLua)
	fenceScript = script.New(fenceLua)
)
