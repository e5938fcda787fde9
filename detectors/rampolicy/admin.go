package rampolicy

// Power is how far the permissions of a document go.
type Power struct {
	// Admin: full control of the account, or a way for the holder to give
	// themselves that without the help of others.
	Admin bool
	// Privileged: less than that, but an escalation path of at least high
	// severity, or management of permissions, credentials or the audit trail.
	Privileged bool
	// Everything: what nobody has thought of yet is allowed on everything.
	Everything bool
	// Paths are the escalation paths that the holder can walk.
	Paths []string
	// Known is false when the document could not be analysed in full: then
	// the other facts say what was found, and may be too little. Where it was
	// too long for that, Privileged is set.
	Known bool
	// Why says it in a few words, in English and Chinese; empty when there
	// is nothing to say.
	Why, WhyZH string
}

// PowerOf finds how far a document goes, from what it allows: its name and
// the wording of its patterns do not matter. Conditions count as met: what is
// allowed with MFA only is still allowed. The account is the one that the
// document is used in, empty when not known.
func PowerOf(d *Document, account string) Power { return PowerOfHolder(d, account, Own{}) }

// PowerOfHolder is PowerOf for a known holder: permissions on what is the
// holder's own count for the paths that need no more.
func PowerOfHolder(d *Document, account string, own Own) Power {
	empty := &Document{Version: "1"}
	if d == nil {
		d = empty
	}
	p := Power{Known: !d.Doubtful}
	// The two readings of letter case are tried; the wider one counts.
	work := &budget{left: maxWork}
	for _, a := range analyses(empty, d, Identity) {
		a.work = work
		// Each known action is looked up, and some resources.
		if !work.spend(2*len(a.dims[dimAction].several)*len(known) + 128*len(a.dims[dimResource].several)) {
			// Longer than anything that the cloud takes. What is not known
			// counts as privileged.
			res := &Request{Action: arbitrary + ":" + arbitrary, Resource: "acs:" + arbitrary + ":*:" + arbitrary + ":" + arbitrary, Context: map[string]string{}}
			p.Everything = p.Everything || d.Decide(res, a.read) == Allowed
			p.Admin, p.Privileged, p.Known = p.Admin || p.Everything, true, false
			break
		}
		accounts := accountsOf(account, d)
		if a.can(true, arbitrary+":"+arbitrary, "acs:"+arbitrary+":*:"+accounts[0]+":"+arbitrary, nil) {
			p.Everything = true
		}
		found := a.completed(accounts, own, nil)
		if len(found) > len(p.Paths) {
			p.Paths = p.Paths[:0]
			for _, x := range found {
				p.Paths = append(p.Paths, x.ID)
			}
		}
		for _, x := range found {
			p.Admin = p.Admin || x.Admin
			p.Privileged = p.Privileged || x.Level >= High
			if p.Why == "" {
				p.Why, p.WhyZH = "can "+x.Gives+" ("+x.ID+")", "可"+x.Zh+"("+x.ID+")"
			}
		}
		for _, act := range catalogue {
			if p.Privileged {
				break
			}
			if !act.Class.atLeast(ClassOrg) && act.Class != ClassAudit || !a.mayCan(true, act.Name) {
				continue
			}
			for _, res := range anyResource(act.Name, accounts[0]) {
				if a.can(true, act.Name, res, nil) {
					p.Privileged = true
					if p.Why == "" {
						p.Why, p.WhyZH = "may do "+act.Name+" on anything", "可对任意资源执行 "+act.Name
					}
					break
				}
			}
		}
		if a.unknown != "" {
			p.Known = false
		}
	}
	if p.Everything && p.Admin {
		p.Why, p.WhyZH = "full control of the account", "完全控制账号"
	}
	p.Privileged = p.Privileged || p.Admin
	return p
}
