"""Support tickets for five teams, made up by this script: no real people.

python examples/tickets.py 60 > tickets.csv
"""

import argparse
import csv
import random
import sys

#: Team -> what its tickets are about. With 60 tickets some of these were never seen.
TEAMS = {
    "billing": (
        "I was charged twice for {month}",
        "my invoice for {month} shows the wrong amount",
        "please refund the payment from {month}",
        "the discount code did not lower the price",
        "your receipt has no tax number on it",
        "I want to pay by bank transfer instead of card",
        "my card was declined although there is money on it",
        "why did the subscription get more expensive in {month}",
        "I cancelled in {month} and money was still taken",
        "send me a copy of the bill, accounting needs it",
    ),
    "accounts": (
        "I cannot log in since {month}",
        "the password reset mail never arrives",
        "please change the email address of my profile",
        "my user is locked after three wrong attempts",
        "I lost the phone that I get my login codes on",
        "add a colleague as an administrator of our workspace",
        "delete my profile and everything you know about me",
        "two of my profiles should be merged into one",
        "somebody else signed in as me in {month}",
        "how do I turn on two-factor authentication",
    ),
    "shipping": (
        "my parcel from {month} has not arrived",
        "the tracking number does not work",
        "the box came open and half of it is missing",
        "you sent the order to my old address",
        "can the courier come in the evening",
        "it says delivered, but nobody brought anything",
        "I ordered a blue one and got a red one in the post",
        "how long does delivery to Norway take",
        "customs keeps my package since {month}",
        "please leave it with the neighbour next time",
    ),
    "technical": (
        "the app crashes when I open the settings",
        "the page stays white in my browser",
        "exporting to a spreadsheet gives an error",
        "since the update in {month} everything is slow",
        "the sync between phone and laptop stopped",
        "photos do not load, there is only a spinner",
        "your API answers with status 500 since {month}",
        "the search finds nothing, whatever I type",
        "sound is missing in all videos",
        "the battery is empty in an hour because of your app",
    ),
    "sales": (
        "do you offer a plan for schools",
        "we are 40 people, what would that cost a year",
        "could somebody show us the product in {month}",
        "what is the difference between the two larger plans",
        "is there a trial before we buy",
        "we would like to become a reseller",
        "please send an offer for 200 seats",
        "does the enterprise plan include training",
        "we compare you with a competitor, why choose you",
        "can we sign a contract for three years",
    ),
}
_MONTHS = ("January", "March", "May", "June", "August", "October", "December")
_OPENERS = ("", "Hello, ", "Hi there, ", "Good morning, ", "Dear team, ", "Sorry to bother you, ", "Again: ")
_CLOSERS = (
    "",
    " Thanks.",
    " Please help.",
    " This is urgent.",
    " Best wishes.",
    " I wait for your answer.",
    " Cheers.",
)


def tickets(count: int, seed: int) -> list[tuple[str, str]]:
    """(ticket, team), about as many of each team."""
    drawn, teams = random.Random(seed), list(TEAMS)
    found = []
    for number in range(count):
        team = teams[number % len(teams)]
        text = drawn.choice(TEAMS[team]).format(month=drawn.choice(_MONTHS))
        found.append((f"{drawn.choice(_OPENERS)}{text}.{drawn.choice(_CLOSERS)}", team))
    drawn.shuffle(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="how many tickets")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other tickets")
    asked = parser.parse_args()
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerows([("ticket", "team"), *tickets(asked.count, asked.seed)])


if __name__ == "__main__":
    main()
