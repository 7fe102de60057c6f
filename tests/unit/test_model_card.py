"""What the card of a saved model says of sequences that it cannot know."""

from dnatune.model_card import strangers


def test_the_card_names_the_score_its_line_and_what_it_costs():
    fitted = {"score": "energy", "false_alarm": 0.05, "thresholds": {"energy": -3.14159, "probability": 0.4}}
    text = strangers({"method": "none", "rejection": fitted})
    assert "`known: no`" in text and "(energy) above -3.142, which 5% of known validation sequences have" in text
    assert "does not find out all of them" in text


def test_without_a_line_nothing_is_promised():
    assert strangers({"method": "none"}) == ""
    assert strangers({"rejection": {"score": "energy", "false_alarm": 0.05, "thresholds": {}}}) == ""
