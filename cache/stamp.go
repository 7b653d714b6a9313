package cache

import "context"

// stamps are the generations under which the value of a load is stored: those that were current
// when the load began.
type stamps struct {
	clear, epoch *generation
	tags         []string
	generations  []*generation // for tags, in this order
}

// stamp reads the generations that a load needs, before it begins.
func (s *store) stamp(ctx context.Context, set *settings) (stamps, error) {
	need := s.lifetime(set) + s.opt.LoadTimeout
	if len(set.tags) == 0 && s.core.Capabilities().Tracking {
		if clear, epoch := s.generations.stand(s.core.Clock().Now() + need); epoch != nil {
			return stamps{clear: clear, epoch: epoch}, nil
		}
	}
	refs := append([]ref{clearRef, epochRef}, tagRefs(set.tags)...)
	gens, err := s.capture(ctx, refs, need)
	if err != nil {
		return stamps{}, err
	}
	return stamps{clear: gens[0], epoch: gens[1], tags: set.tags, generations: gens[2:]}, nil
}

// late adds tags that the loader named. Their generations were not read before the load, so no tag
// may have been invalidated since then. InvalidateTags changes the epoch first and the tags after
// it. late reads them in the opposite order:
//
//	load      epoch E0 ════════════════════ tag T1, epoch E1: E0 ≠ E1, not stored
//	another       InvalidateTags: epoch E1, tag T1
//
// It reports false if the value must not be stored.
func (s *store) late(ctx context.Context, st *stamps, set *settings) (bool, error) {
	if len(set.tags) == len(st.tags) {
		return true, nil
	}
	if s.pendsRef(epochRef) { // an InvalidateTags failed before it changed the epoch
		return false, nil
	}
	added := set.tags[len(st.tags):]
	gens, err := s.capture(ctx, tagRefs(added), s.lifetime(set))
	if err != nil {
		return false, err
	}
	now, err := s.captureAll(ctx, []ref{epochRef}, 0, false) // read from the server, not from memory
	if err != nil {
		return false, err
	}
	st.tags, st.generations = set.tags, append(st.generations[:len(st.generations):len(st.generations)], gens...)
	return now[0].id == st.epoch.id, nil
}
