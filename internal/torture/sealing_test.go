package torture

func childSecret(string) error { return nil }
